// SPDX-License-Identifier: Apache-2.0
// Pools against plain loops in double: windows, strides, pads, dilations, ceil_mode, count_include_pad, ties, NaN.
#include <limits>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

struct Case {
  const char* type;
  int64_t n, channels, height, width;
  std::vector<int64_t> kernel, strides = {1, 1}, pads = {0, 0, 0, 0}, dilations = {1, 1};
  int64_t ceil_mode = 0, include = 0;
};

OpSpec pool(const Case& c) {
  return {.type = c.type,
          .attributes = {{"kernel_shape", c.kernel},
                         {"strides", c.strides},
                         {"pads", c.pads},
                         {"dilations", c.dilations},
                         {"ceil_mode", c.ceil_mode},
                         {"count_include_pad", c.include}},
          .samples = c.n,
          .training = true,
          .inputs = {{c.channels, c.height, c.width}}};
}

double pooled(const Case& c, const Numbers& x, int64_t s, int64_t oy, int64_t ox, int64_t channel) {
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  int64_t inside = 0, padded = 0;
  for (int64_t ky = 0; ky < c.kernel[0]; ++ky)
    for (int64_t kx = 0; kx < c.kernel[1]; ++kx) {
      const int64_t y = oy * c.strides[0] - c.pads[0] + ky * c.dilations[0];
      const int64_t xx = ox * c.strides[1] - c.pads[1] + kx * c.dilations[1];
      padded += y < c.height + c.pads[2] && xx < c.width + c.pads[3];
      if (y < 0 || xx < 0 || y >= c.height || xx >= c.width) continue;
      const double value = x[static_cast<size_t>(((s * c.height + y) * c.width + xx) * c.channels + channel)];
      largest = std::max(largest, value);
      sum += value;
      ++inside;
    }
  if (std::string(c.type) == "MaxPool") return largest;
  return sum / static_cast<double>(c.include ? padded : inside);
}

void check(const Case& c, const Shape& want) {
  const Shape out = completed(pool(c)).output;
  ASSERT_EQ(out, want);
  check_op(pool(c), [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    Numbers y;
    for (int64_t s = 0; s < c.n; ++s)
      for (int64_t oy = 0; oy < out[1]; ++oy)
        for (int64_t ox = 0; ox < out[2]; ++ox)
          for (int64_t k = 0; k < c.channels; ++k) y.push_back(pooled(c, inputs[0], s, oy, ox, k));
    return y;
  });
}

TEST(MaxPool, WindowsOfAllKinds) {
  check({"MaxPool", 2, 3, 6, 8, {2, 2}, {2, 2}}, {3, 3, 4});
  check({"MaxPool", 2, 17, 5, 6, {3, 2}}, {17, 3, 5});
  check({"MaxPool", 1, 4, 7, 7, {3, 3}, {2, 1}}, {4, 3, 5});
  check({"MaxPool", 1, 4, 5, 5, {3, 3}, {2, 2}, {2, 0, 1, 1}}, {4, 3, 2});
  check({"MaxPool", 1, 4, 9, 8, {3, 2}, {1, 2}, {0, 0, 0, 0}, {2, 3}}, {4, 5, 3});
  check({"MaxPool", 1, 2, 6, 6, {3, 3}, {2, 2}, {0, 0, 0, 0}, {1, 1}, 1}, {2, 3, 3});
  check({"MaxPool", 1, 2, 6, 6, {3, 3}, {2, 2}, {0, 0, 0, 0}, {1, 1}, 0}, {2, 2, 2});
  check({"MaxPool", 1, 2, 4, 4, {1, 1}, {4, 4}, {0, 0, 0, 0}, {1, 1}, 1}, {2, 1, 1});
}

TEST(MaxPool, InferenceGivesTheSameBits) {
  OpSpec spec = completed(pool({"MaxPool", 2, 5, 6, 8, {3, 2}, {2, 2}, {1, 1, 1, 0}}));
  const Operands operands = random_operands(spec);
  const Floats want = run_op(spec, operands).output;
  spec.training = false;
  EXPECT_EQ(run_op(spec, operands).output, want);
}

TEST(MaxPool, TheFirstOfEqualMaximaTakesTheGradient) {
  const OpSpec spec = completed(pool({"MaxPool", 1, 1, 2, 2, {2, 2}}));
  Operands operands = random_operands(spec);
  operands.inputs[0] = {0, 5, 5, 5};
  operands.output_gradient = {3};
  EXPECT_EQ(run_op(spec, operands).input_gradients[0], (Floats{0, 3, 0, 0}));
}

TEST(MaxPool, NaNWins) {
  const OpSpec spec = completed(pool({"MaxPool", 1, 1, 2, 2, {2, 2}}));
  for (size_t at = 0; at < 4; ++at) {
    Operands operands = random_operands(spec);
    operands.inputs[0][at] = NAN;
    EXPECT_TRUE(std::isnan(run_op(spec, operands).output[0])) << at;
  }
}

TEST(AveragePool, WindowsOfAllKinds) {
  check({"AveragePool", 2, 3, 6, 8, {2, 2}, {2, 2}}, {3, 3, 4});
  check({"AveragePool", 2, 17, 5, 6, {3, 2}}, {17, 3, 5});
  check({"AveragePool", 1, 4, 5, 5, {3, 3}, {2, 2}, {2, 0, 1, 1}}, {4, 3, 2});
  check({"AveragePool", 1, 4, 5, 5, {3, 3}, {2, 2}, {2, 0, 1, 1}, {1, 1}, 0, 1}, {4, 3, 2});
  check({"AveragePool", 1, 2, 6, 6, {3, 3}, {2, 2}, {0, 0, 0, 0}, {1, 1}, 1}, {2, 3, 3});
  check({"AveragePool", 1, 2, 6, 6, {3, 3}, {2, 2}, {1, 1, 0, 0}, {1, 1}, 1, 1}, {2, 3, 3});
}

TEST(GlobalAveragePool, Means) {
  const OpSpec spec{.type = "GlobalAveragePool", .samples = 3, .training = true, .inputs = {{5, 3, 4}}};
  EXPECT_EQ(completed(spec).output, (Shape{5, 1, 1}));
  check_op(spec, [](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    Numbers y(15);
    for (size_t s = 0; s < 3; ++s)
      for (size_t p = 0; p < 12; ++p)
        for (size_t c = 0; c < 5; ++c) y[s * 5 + c] += inputs[0][(s * 12 + p) * 5 + c] / 12;
    return y;
  });
}

TEST(Pool, RefusesWhatDoesNotFit) {
  expect_refused(pool({"MaxPool", 1, 4, 2, 8, {3, 3}}), "larger than its input [4, 2, 8]");
  expect_refused(pool({"AveragePool", 1, 4, 8, 8, {3}}), "2 numbers");
  expect_refused(pool({"MaxPool", 1, 4, 8, 8, {2, 2}, {1, 1}, {2, 0, 0, 0}}), "smaller than the window");
  expect_refused(pool({"MaxPool", 1, 4, 8, 8, {2, 2}, {1, 1}, {-1, 0, 0, 0}}), "negative");
  expect_refused(pool({"MaxPool", 1, 4, 80, 80, {16, 16}}), "255");
  OpSpec vector = pool({"MaxPool", 1, 4, 8, 8, {2, 2}});
  vector.inputs = {{10}};
  expect_refused(vector, "not [10]");
  expect_refused({.type = "GlobalAveragePool", .inputs = {{10}}}, "not [10]");
}

}  // namespace
}  // namespace lepton::ops
