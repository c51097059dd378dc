// SPDX-License-Identifier: Apache-2.0
// Conv against plain loops in double: strides, pads on each side, dilations, groups, depthwise, no bias,
// fused activations, layouts that need packing, refusals.
#include "ops/bf16.h"
#include "ops/window_cases.h"

namespace lepton::ops {
namespace {

using namespace testing;

struct ConvCase {
  int64_t n, channels, height, width, filters, kernel_height, kernel_width;
  std::vector<int64_t> strides = {1, 1}, pads = {0, 0, 0, 0}, dilations = {1, 1};
  int64_t group = 1;
  bool bias = true;
};

OpSpec convolution(const ConvCase& c) {
  OpSpec spec{.type = "Conv",
              .attributes = {{"kernel_shape", std::vector<int64_t>{c.kernel_height, c.kernel_width}},
                             {"strides", c.strides},
                             {"pads", c.pads},
                             {"dilations", c.dilations},
                             {"group", c.group}},
              .samples = c.n,
              .training = true,
              .inputs = {{c.channels, c.height, c.width}},
              .parameters = {{c.filters, c.channels / c.group, c.kernel_height, c.kernel_width}}};
  if (c.bias) spec.parameters.push_back({c.filters});
  return spec;
}

Numbers conv_reference(const ConvCase& c, const Shape& out, const Numbers& x, const Numbers& w,
                       const Numbers* bias) {
  Numbers y;
  const int64_t in_group = c.channels / c.group, out_group = c.filters / c.group;
  for (int64_t s = 0; s < c.n; ++s)
    for (int64_t oy = 0; oy < out[1]; ++oy)
      for (int64_t ox = 0; ox < out[2]; ++ox)
        for (int64_t f = 0; f < c.filters; ++f) {
          double sum = bias ? (*bias)[static_cast<size_t>(f)] : 0;
          for (int64_t ky = 0; ky < c.kernel_height; ++ky)
            for (int64_t kx = 0; kx < c.kernel_width; ++kx) {
              const int64_t iy = oy * c.strides[0] - c.pads[0] + ky * c.dilations[0];
              const int64_t ix = ox * c.strides[1] - c.pads[1] + kx * c.dilations[1];
              if (iy < 0 || ix < 0 || iy >= c.height || ix >= c.width) continue;
              for (int64_t i = 0; i < in_group; ++i) {
                const int64_t channel = f / out_group * in_group + i;
                sum +=
                    x[static_cast<size_t>(((s * c.height + iy) * c.width + ix) * c.channels + channel)] *
                    w[static_cast<size_t>(((f * in_group + i) * c.kernel_height + ky) * c.kernel_width + kx)];
              }
            }
          y.push_back(sum);
        }
  return y;
}

void check_conv(const ConvCase& c, const std::string& activation = "", double (*function)(double) = nullptr) {
  OpSpec spec = convolution(c);
  spec.activation = activation;
  const Shape out = completed(spec).output;
  check_op(
      spec,
      [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters) {
        Numbers y = conv_reference(c, out, inputs[0], parameters[0], c.bias ? &parameters[1] : nullptr);
        if (function)
          for (double& value : y) value = function(value);
        return y;
      },
      1e-5);
}

TEST(Conv, OverOneAndThreeDimensions) {
  check_windows({"Conv", 2, 3, {9}, 4, {3}});
  check_windows({"Conv", 2, 4, {11}, 6, {4}, {2}, {1, 2}, {2}, 2});
  check_windows({"Conv", 1, 3, {4, 5, 3}, 4, {2, 3, 2}});
  check_windows({"Conv", 2, 4, {5, 6, 7}, 6, {3, 2, 3}, {2, 1, 2}, {1, 0, 2, 2, 1, 1}, {1, 2, 1}, 2});
  check_windows({"Conv", 1, 4, {3, 2, 3}, 8, {3, 3, 3}, {1, 1, 1}, {1, 1, 1, 1, 1, 1}, {1, 1, 1}});
}

TEST(Conv, OddShapes) {
  check_conv({2, 1, 6, 7, 3, 3, 3});
  check_conv({1, 3, 5, 8, 4, 2, 3});
  check_conv({3, 5, 4, 4, 7, 1, 1});
  check_conv({2, 16, 4, 5, 16, 3, 3, {1, 1}, {1, 1, 1, 1}});
  check_conv({1, 20, 4, 4, 9, 3, 3, {1, 1}, {1, 1, 1, 1}});
}

TEST(Conv, Strides) {
  check_conv({2, 3, 7, 8, 4, 3, 2, {2, 3}});
}
TEST(Conv, PadsOfEachSide) {
  check_conv({1, 3, 4, 5, 4, 3, 3, {1, 1}, {2, 0, 1, 1}});
}
TEST(Conv, Dilations) {
  check_conv({1, 3, 7, 8, 4, 3, 2, {1, 1}, {1, 0, 1, 0}, {2, 3}});
}
TEST(Conv, StridesPadsAndDilations) {
  check_conv({1, 2, 9, 10, 3, 3, 3, {2, 3}, {1, 2, 2, 1}, {2, 1}});
}
TEST(Conv, Groups) {
  check_conv({2, 4, 5, 5, 6, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 2});
}
TEST(Conv, GroupsOfWholeVectors) {
  check_conv({1, 32, 3, 3, 32, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 2});
}
TEST(Conv, Depthwise) {
  check_conv({2, 16, 5, 5, 16, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 16});
}
TEST(Conv, DepthwiseOddChannels) {
  check_conv({1, 5, 5, 5, 10, 3, 3, {2, 2}, {1, 1, 1, 1}, {1, 1}, 5});
}
TEST(Conv, WithoutBias) {
  check_conv({.n = 2,
              .channels = 3,
              .height = 5,
              .width = 5,
              .filters = 4,
              .kernel_height = 3,
              .kernel_width = 3,
              .bias = false});
}

TEST(Conv, FusedActivations) {
  const ConvCase c{2, 3, 6, 6, 8, 3, 3, {1, 1}, {1, 1, 1, 1}};
  check_conv(c, "Relu", [](double x) { return x > 0 ? x : 0; });
  check_conv(c, "Tanh", [](double x) { return std::tanh(x); });
  check_conv(c, "LeakyRelu", [](double x) { return x > 0 ? x : 0.01 * x; });
}

TEST(Conv, NoInputGradientAtTheNetworksInput) {
  const ConvCase c{2, 3, 6, 6, 8, 3, 3};
  OpSpec spec = convolution(c);
  spec.input_needs_gradient = {false};
  const Shape out = completed(spec).output;
  check_op(
      spec,
      [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters) {
        return conv_reference(c, out, inputs[0], parameters[0], &parameters[1]);
      },
      1e-5);
}

TEST(Conv, BitsOfASampleDoNotDependOnTheUnit) {
  ConvCase c{8, 16, 8, 8, 32, 3, 3, {1, 1}, {1, 1, 1, 1}};
  const OpSpec whole = completed(convolution(c));
  const Operands operands = random_operands(whole);
  const Results want = run_op(whole, operands);
  c.n = 3;
  Operands few = operands;
  few.inputs[0].resize(operands.inputs[0].size() / 8 * 3);
  few.output_gradient.resize(operands.output_gradient.size() / 8 * 3);
  const Results got = run_op(completed(convolution(c)), few);
  EXPECT_TRUE(std::equal(got.output.begin(), got.output.end(), want.output.begin()));
  EXPECT_TRUE(std::equal(got.input_gradients[0].begin(), got.input_gradients[0].end(),
                         want.input_gradients[0].begin()));
}

using ConvBf16 = InBf16;

TEST_F(ConvBf16, IsTheConvolutionOfRoundedOperands) {
  for (const ConvCase& c : std::vector<ConvCase>{{2, 1, 6, 7, 3, 3, 3},
                                                 {1, 3, 5, 8, 4, 2, 3},
                                                 {3, 5, 4, 4, 7, 1, 1},
                                                 {2, 16, 4, 5, 16, 3, 3, {1, 1}, {1, 1, 1, 1}},
                                                 {1, 20, 4, 4, 9, 3, 3, {1, 1}, {1, 1, 1, 1}},
                                                 {2, 3, 7, 8, 4, 3, 2, {2, 3}},
                                                 {1, 3, 4, 5, 4, 3, 3, {1, 1}, {2, 0, 1, 1}},
                                                 {1, 3, 7, 8, 4, 3, 2, {1, 1}, {1, 0, 1, 0}, {2, 3}},
                                                 {1, 2, 9, 10, 3, 3, 3, {2, 3}, {1, 2, 2, 1}, {2, 1}},
                                                 {2, 4, 5, 5, 6, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 2},
                                                 {1, 32, 3, 3, 32, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 2},
                                                 {2, 16, 5, 5, 16, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 16},
                                                 {1, 5, 5, 5, 10, 3, 3, {2, 2}, {1, 1, 1, 1}, {1, 1}, 5},
                                                 {8, 32, 14, 14, 64, 3, 3, {1, 1}, {1, 1, 1, 1}}})
    for (const char* activation : {"", "Relu", "Tanh"})
      for (const bool bias : {false, true}) {
        OpSpec spec = convolution(c);
        spec.activation = activation;
        if (!bias) spec.parameters.pop_back();
        SCOPED_TRACE(shape_text(spec.inputs[0]) + " by " + shape_text(spec.parameters[0]) + " " + activation);
        check_bf16(spec, spec.activation == "Tanh" ? 1e-5 : 2e-6);  // oneDNN's own tanh is that exact
      }
}

TEST_F(ConvBf16, AtTheNetworksInputAndInInference) {
  OpSpec spec = convolution({2, 3, 6, 6, 8, 3, 3});
  spec.input_needs_gradient = {false};
  check_bf16(spec);
  spec.training = false;
  check_bf16(spec);
}

TEST_F(ConvBf16, RoundsItsOperands) {
  for (const int64_t group : {1, 2, 16}) {
    ConvCase c{2, 16, 6, 6, 16, 3, 3, {1, 1}, {1, 1, 1, 1}};
    c.group = group;
    expect_rounded(convolution(c));
  }
}

TEST(Conv, RefusesWhatDoesNotFit) {
  const ConvCase c{1, 4, 5, 5, 6, 3, 3};
  OpSpec spec = convolution(c);
  spec.inputs = {{3, 5, 5}};
  expect_refused(spec, "[6, 4, 3, 3] in 1 groups do not fit the input [3, 5, 5]");
  spec.inputs = {{100}};
  expect_refused(spec, "not [100]");
  spec.inputs = {{4, 2, 5}};
  expect_refused(spec, "larger than its input [4, 2, 5]");
  spec = convolution(c);
  spec.attributes["kernel_shape"] = std::vector<int64_t>{3, 2};
  expect_refused(spec, "kernel_shape");
  spec = convolution(c);
  spec.attributes["strides"] = std::vector<int64_t>{0, 1};
  expect_refused(spec, "at least 1");
  spec = convolution(c);
  spec.parameters[1] = {5};
  expect_refused(spec, "bias");
}

}  // namespace
}  // namespace lepton::ops
