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
  EXPECT_EQ(window_output(spec, window, false), (Shape{7, 7}));
}

TEST(Window, KernelsOfWeights) {
  EXPECT_EQ(kernel_of({6, 2, 3, 5}), (std::vector<int64_t>{3, 5}));
  EXPECT_TRUE(kernel_of({6}).empty());
}

TEST(Window, PadsAreBeginningsThenEnds) {
  const OpSpec spec{
      .type = "Conv", .attributes = {{"pads", std::vector<int64_t>{1, 2, 3, 4}}}, .inputs = {{3, 9, 8}}};
  const Window window = parse_window(spec, {5, 5});
  EXPECT_EQ(window.pad_begin[0], 1);
  EXPECT_EQ(window.pad_begin[1], 2);
  EXPECT_EQ(window.pad_end[0], 3);
  EXPECT_EQ(window.pad_end[1], 4);
  EXPECT_EQ(window_output(spec, window, false), (Shape{9, 10}));
}

TEST(Window, CeilModeCountsThePartialWindow) {
  const OpSpec spec{
      .type = "MaxPool", .attributes = {{"strides", std::vector<int64_t>{2, 3}}}, .inputs = {{3, 8, 8}}};
  const Window window = parse_window(spec, {3, 3});
  EXPECT_EQ(window_output(spec, window, false), (Shape{3, 2}));
  EXPECT_EQ(window_output(spec, window, true), (Shape{4, 3}));
}

TEST(Window, AutoPadGivesTheInputDividedByTheStride) {
  const auto pads = [](const char* automatic, int64_t size, int64_t stride) {
    const OpSpec spec{
        .type = "Conv",
        .attributes = {{"auto_pad", std::string(automatic)}, {"strides", std::vector<int64_t>{stride}}},
        .inputs = {{3, size}}};
    const Window window = parse_window(spec, {4});
    return std::vector<int64_t>{window.pad_begin[0], window.pad_end[0],
                                window_output(spec, window, false)[0]};
  };
  EXPECT_EQ(pads("SAME_UPPER", 8, 1), (std::vector<int64_t>{1, 2, 8}));
  EXPECT_EQ(pads("SAME_LOWER", 8, 1), (std::vector<int64_t>{2, 1, 8}));
  EXPECT_EQ(pads("SAME_UPPER", 9, 2), (std::vector<int64_t>{1, 2, 5}));
  EXPECT_EQ(pads("SAME_UPPER", 8, 8), (std::vector<int64_t>{0, 0, 1}));
  EXPECT_EQ(pads("VALID", 8, 2), (std::vector<int64_t>{0, 0, 3}));
  EXPECT_THROW(pads("SAME", 8, 1), Error);
}

TEST(Window, HasAsManyAxesAsItsInput) {
  const OpSpec line{.type = "Conv", .inputs = {{3, 9}}}, volume{.type = "Conv", .inputs = {{3, 9, 8, 7}}};
  EXPECT_EQ(window_output(line, parse_window(line, {4}), false), (Shape{6}));
  EXPECT_EQ(window_output(volume, parse_window(volume, {4, 3, 2}), false), (Shape{6, 6, 6}));
  EXPECT_THROW(parse_window(line, {4, 4}), Error);
  EXPECT_THROW(parse_window({.type = "Conv", .inputs = {{9}}}, {}), Error);
  EXPECT_THROW(parse_window({.type = "Conv", .inputs = {{1, 2, 3, 4, 5}}}, {1, 1, 1, 1}), Error);
}

}  // namespace
}  // namespace lepton::ops
