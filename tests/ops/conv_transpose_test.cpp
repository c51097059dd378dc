// SPDX-License-Identifier: Apache-2.0
// ConvTranspose against plain loops in double over one to three dimensions; refusals.
#include "ops/window_cases.h"

namespace lepton::ops {
namespace {

using namespace testing;

TEST(ConvTranspose, OverOneToThreeDimensions) {
  check_windows({"ConvTranspose", 2, 3, {5}, 4, {3}, {2}});
  check_windows({"ConvTranspose", 2, 3, {4, 5}, 4, {3, 2}, {2, 3}});
  check_windows({"ConvTranspose", 1, 16, {3, 3}, 16, {2, 2}, {2, 2}});
  check_windows({"ConvTranspose", 1, 2, {2, 3, 2}, 3, {2, 3, 2}, {2, 1, 2}});
}

TEST(ConvTranspose, PadsDilationsAndGroups) {
  check_windows({"ConvTranspose", 2, 4, {4, 5}, 6, {3, 3}, {2, 2}, {1, 0, 1, 2}, {1, 2}, 2});
  check_windows({"ConvTranspose", 1, 3, {6}, 3, {4}, {3}, {2, 1}, {2}, 3});
}

TEST(ConvTranspose, OutputPadding) {
  check_windows({"ConvTranspose",
                 1,
                 2,
                 {3, 3},
                 3,
                 {3, 3},
                 {2, 3},
                 {1, 1, 1, 1},
                 {1, 1},
                 1,
                 {{"output_padding", std::vector<int64_t>{1, 2}}}});
}

TEST(ConvTranspose, WithoutBiasAndWithoutInputGradient) {
  const WindowCase c{"ConvTranspose", 1, 2, {3, 3}, 3, {2, 2}, {2, 2}};
  OpSpec spec = window_spec(c);
  spec.parameters.pop_back();
  spec.input_needs_gradient = {false};
  spec = completed(spec);
  check_op(
      spec,
      [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters) {
        return slide(c, spec, inputs[0], {parameters[0], Numbers(3, 0)});
      },
      1e-5);
}

TEST(ConvTranspose, RefusesWhatDoesNotFit) {
  const WindowCase c{"ConvTranspose", 1, 4, {5, 5}, 6, {3, 3}, {2, 2}};
  OpSpec spec = window_spec(c);
  spec.inputs = {{3, 5, 5}};
  expect_refused(spec, "do not fit the input [3, 5, 5]");
  spec = window_spec(c);
  spec.parameters[1] = {5};
  expect_refused(spec, "bias");
  spec = window_spec(c);
  spec.attributes["output_padding"] = std::vector<int64_t>{2, 0};
  expect_refused(spec, "output_padding");
  spec = window_spec(c);
  spec.attributes["pads"] = std::vector<int64_t>{6, 6, 6, 6};
  expect_refused(spec, "whole output");
  spec = window_spec(c);
  spec.attributes["output_shape"] = std::vector<int64_t>{40, 40};
  expect_refused(spec, "cannot give 40");
  spec = window_spec(c);
  spec.attributes["kernel_shape"] = std::vector<int64_t>{3, 2};
  expect_refused(spec, "kernel_shape");
  spec.parameters.clear();
  expect_refused(spec, "needs weights");
}

}  // namespace
}  // namespace lepton::ops
