// SPDX-License-Identifier: Apache-2.0
// ONNX defaults of window attributes and output sizes by ONNX's formula.
#include <gtest/gtest.h>

#include "ops/operators.h"

namespace lepton::ops {
namespace {

TEST(Window, Defaults) {
  const OpSpec spec{.type = "Conv", .inputs = {{3, 9, 8}}};
  const Window window = parse_window(spec, {3, 2});
  for (const size_t axis : {0, 1}) {
    EXPECT_EQ(window.stride[axis], 1);
    EXPECT_EQ(window.dilation[axis], 1);
    EXPECT_EQ(window.pad_begin[axis] + window.pad_end[axis], 0);
  }
  EXPECT_EQ(window_output(spec, window, false), (std::array<int64_t, 2>{7, 7}));
}

TEST(Window, PadsAreBeginningsThenEnds) {
  const OpSpec spec{
      .type = "Conv", .attributes = {{"pads", std::vector<int64_t>{1, 2, 3, 4}}}, .inputs = {{3, 9, 8}}};
  const Window window = parse_window(spec, {5, 5});
  EXPECT_EQ(window.pad_begin[0], 1);
  EXPECT_EQ(window.pad_begin[1], 2);
  EXPECT_EQ(window.pad_end[0], 3);
  EXPECT_EQ(window.pad_end[1], 4);
  EXPECT_EQ(window_output(spec, window, false), (std::array<int64_t, 2>{9, 10}));
}

TEST(Window, CeilModeCountsThePartialWindow) {
  const OpSpec spec{
      .type = "MaxPool", .attributes = {{"strides", std::vector<int64_t>{2, 3}}}, .inputs = {{3, 8, 8}}};
  const Window window = parse_window(spec, {3, 3});
  EXPECT_EQ(window_output(spec, window, false), (std::array<int64_t, 2>{3, 2}));
  EXPECT_EQ(window_output(spec, window, true), (std::array<int64_t, 2>{4, 3}));
}

TEST(Window, AutoPadMustBeResolved) {
  const OpSpec same{
      .type = "Conv", .attributes = {{"auto_pad", std::string("SAME_LOWER")}}, .inputs = {{3, 8, 8}}};
  EXPECT_THROW(parse_window(same, {3, 3}), Error);
  const OpSpec valid{
      .type = "Conv", .attributes = {{"auto_pad", std::string("VALID")}}, .inputs = {{3, 8, 8}}};
  EXPECT_NO_THROW(parse_window(valid, {3, 3}));
}

}  // namespace
}  // namespace lepton::ops
