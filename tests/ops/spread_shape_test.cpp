// SPDX-License-Identifier: Apache-2.0
// Shapes of Expand, Squeeze, Unsqueeze and reductions, and what they refuse.
#include "ops/placed.h"

namespace lepton::ops {
namespace {

using namespace testing;
using List = std::vector<int64_t>;

OpSpec spread_of(const char* type, const Shape& input, Attributes attributes) {
  return {.type = type, .attributes = std::move(attributes), .samples = 1, .inputs = {input}};
}
Shape inferred(const OpSpec& spec) {
  return find_operator(spec.type)->infer(spec);
}

TEST(SpreadShape, SqueezeAndUnsqueeze) {
  EXPECT_EQ(inferred(spread_of("Squeeze", {1, 3, 1}, {})), (Shape{3}));
  EXPECT_EQ(inferred(spread_of("Squeeze", {1, 3, 1}, {{"axes", List{1}}})), (Shape{3, 1}));
  EXPECT_EQ(inferred(spread_of("Squeeze", {1, 3, 1}, {{"axes", List{-1}}})), (Shape{1, 3}));
  EXPECT_EQ(inferred(spread_of("Squeeze", {1, 1}, {})), (Shape{1}));
  EXPECT_EQ(inferred(spread_of("Unsqueeze", {3, 4}, {{"axes", List{1, -1}}})), (Shape{1, 3, 4, 1}));
  EXPECT_EQ(inferred(spread_of("Unsqueeze", {3, 4}, {{"axes", List{2}}})), (Shape{3, 1, 4}));
  expect_refused(spread_of("Squeeze", {1, 3}, {{"axes", List{2}}}), "cannot drop axis 2");
  expect_refused(spread_of("Unsqueeze", {3}, {}), "needs axes");
  expect_refused(spread_of("Unsqueeze", {3}, {{"axes", List{1, 1}}}), "axis 1 twice");
  expect_refused(spread_of("Unsqueeze", {3}, {{"axes", List{0}}}), "no axes 0");
}

TEST(SpreadShape, ImagesAreSqueezedInOnnxOrder) {
  check_op({.type = "Unsqueeze",
            .attributes = {{"axes", List{1}}},
            .samples = 2,
            .training = true,
            .inputs = {{3, 5}},
            .layouts = {Layout::channels_last}},
           [](const auto& inputs, const auto&) {
             Numbers y;
             for (size_t s = 0; s < 2; ++s)
               for (size_t c = 0; c < 3; ++c)
                 for (size_t t = 0; t < 5; ++t) y.push_back(inputs[0][(s * 5 + t) * 3 + c]);
             return y;
           });
}

TEST(SpreadShape, Refusals) {
  expect_refused(spread_of("ReduceSum", {3}, {}), "needs axes");
  expect_refused(spread_of("ReduceSum", {3}, {{"axes", List{0}}}), "no axes 0");
  expect_refused(spread_of("ReduceMax", {3}, {{"axes", List{1}}, {"keepdims", int64_t{2}}}),
                 "keepdims is 0 or 1");
  expect_refused(spread_of("Expand", {3}, {{"shape", List{4}}}), "cannot make [4] of [3]");
  expect_refused(spread_of("Expand", {3}, {{"shape", List{2, 3}}}), "at most as many dimensions");
  expect_refused(spread_of("Expand", {3}, {}), "needs a shape");
}

}  // namespace
}  // namespace lepton::ops
