// SPDX-License-Identifier: Apache-2.0
// The rules of layouts.
#include "ops/layouts.h"

#include <gtest/gtest.h>

namespace lepton::ops {
namespace {

constexpr Layout as_written = Layout::plain, last = Layout::channels_last;

OpSpec spec_of(std::vector<Shape> inputs, std::vector<Layout> layouts, std::vector<Shape> parameters = {}) {
  OpSpec spec;
  spec.output = inputs.front();
  spec.inputs = std::move(inputs);
  spec.layouts = std::move(layouts);
  spec.parameters = std::move(parameters);
  return spec;
}

void expect(const Layouts& got, std::vector<Layout> inputs, Layout output) {
  EXPECT_EQ(got.inputs, inputs);
  EXPECT_EQ(got.output, output);
}

TEST(Layouts, OfImagesAndElementwiseOnes) {
  const OpSpec two = spec_of({{3, 4, 5}, {3, 4, 5}}, {last, as_written});
  expect(lay_plain(two), {as_written, as_written}, as_written);
  expect(lay_as_first(two), {last, last}, last);
  expect(lay_channels_last(two), {last, last}, last);
  expect(lay_channels_last(spec_of({{3}}, {as_written})), {as_written}, as_written);
  expect(lay_reshape(spec_of({{3, 4}}, {last})), {last}, as_written);
}

TEST(Layouts, AParameterGoesAlongTheInnermostDimension) {
  expect(lay_by_parameter(spec_of({{3, 4}}, {as_written}, {{3, 1}})), {last}, last);
  expect(lay_by_parameter(spec_of({{3, 4}}, {last}, {{4}})), {as_written}, as_written);
  expect(lay_by_parameter(spec_of({{3, 4}}, {last}, {{3, 4}})), {as_written}, as_written);
  expect(lay_by_parameter(spec_of({{3, 4}}, {last}, {{1}})), {last}, last);
  expect(lay_layer_norm(spec_of({{3, 4}}, {last}, {{3, 4}})), {last}, last);
  expect(lay_layer_norm(spec_of({{3, 4}}, {last}, {{4}})), {as_written}, as_written);
  expect(lay_broadcast(spec_of({{3, 4}, {3, 4}}, {last, as_written})), {last, last}, last);
}

TEST(Layouts, DimensionsInMemory) {
  EXPECT_EQ(in_memory({2, 3, 4}, as_written), (Shape{2, 3, 4}));
  EXPECT_EQ(in_memory({2, 3, 4}, last), (Shape{3, 4, 2}));
  EXPECT_EQ(innermost({2, 3, 4}, as_written), 4);
  EXPECT_EQ(innermost({2, 3, 4}, last), 2);
  EXPECT_EQ(usual_layout({2, 3}), as_written);
  EXPECT_EQ(usual_layout({2, 3, 4, 5}), last);
}

}  // namespace
}  // namespace lepton::ops
