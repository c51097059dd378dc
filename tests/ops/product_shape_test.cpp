// SPDX-License-Identifier: Apache-2.0
// Shapes of a MatMul, and what it refuses.
#include "ops/product_shape.h"

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec product_of(std::vector<Shape> inputs) {
  return {.type = "MatMul", .samples = 2, .inputs = std::move(inputs)};
}

TEST(ProductShape, SizesAndMatrices) {
  OpSpec spec = completed(product_of({{3, 4, 2}, {1, 2, 5}}));
  EXPECT_EQ(spec.output, (Shape{3, 4, 5}));
  const ProductShape shape(spec);
  EXPECT_EQ(shape.rows, 4);
  EXPECT_EQ(shape.inner, 2);
  EXPECT_EQ(shape.columns, 5);
  EXPECT_EQ(shape.matrices.count, 6);
  EXPECT_EQ(shape.matrices.own[0], 6);
  EXPECT_EQ(shape.matrices.own[1], 2);
}

TEST(ProductShape, Refusals) {
  expect_refused(product_of({{3, 4}, {3, 4}}), "cannot multiply [3, 4] and [3, 4]");
  expect_refused(product_of({{2, 3, 4}, {3, 4, 5}}), "cannot multiply");
  expect_refused(product_of({{3}, {3}}), "needs matrices");
  expect_refused(product_of({{2, 3, 4}, {4, 5}}), "as many dimensions");
  OpSpec spec = product_of({{3, 4}, {4, 3}});
  spec.parameters = {{3}};
  expect_refused(spec, "it is a Gemm");
}

}  // namespace
}  // namespace lepton::ops
