// SPDX-License-Identifier: Apache-2.0
// Runs of a Concat: their number and widths depend on the axis and on the layout.
#include "ops/concat_shape.h"

#include <gtest/gtest.h>

namespace lepton::ops {
namespace {

ConcatShape shape_of(int64_t axis, Layout layout, const Shape& second, const Shape& output) {
  const OpSpec spec{.type = "Concat",
                    .attributes = {{"axis", axis}},
                    .samples = 2,
                    .inputs = {{3, 4, 5}, second},
                    .output = output,
                    .layouts = {layout, layout}};
  return ConcatShape(spec);
}

TEST(ConcatShape, DependsOnAxisAndLayout) {
  const ConcatShape planes = shape_of(1, Layout::plain, {2, 4, 5}, {5, 4, 5});
  EXPECT_EQ(planes.rows, 2);
  EXPECT_EQ(planes.widths, (std::vector<int64_t>{60, 40}));
  EXPECT_EQ(planes.width, 100);
  const ConcatShape channels = shape_of(1, Layout::channels_last, {2, 4, 5}, {5, 4, 5});
  EXPECT_EQ(channels.rows, 40);
  EXPECT_EQ(channels.widths, (std::vector<int64_t>{3, 2}));
  const ConcatShape columns = shape_of(-1, Layout::channels_last, {3, 4, 2}, {3, 4, 7});
  EXPECT_EQ(columns.rows, 8);
  EXPECT_EQ(columns.widths, (std::vector<int64_t>{15, 6}));
}

}  // namespace
}  // namespace lepton::ops
