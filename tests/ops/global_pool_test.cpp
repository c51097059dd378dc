// SPDX-License-Identifier: Apache-2.0
// Global pools against plain loops in double, over one to three dimensions; equal maxima, NaN; refusals.
#include <limits>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

const Shape shapes[] = {{5, 3, 4}, {7, 9}, {3, 2, 3, 2}};

OpSpec global(const char* type, const Shape& input) {
  return {.type = type, .samples = 3, .training = true, .inputs = {input}};
}

template <class Join>
Reference over_pixels(const Shape& shape, double start, const Join& join) {
  const size_t channels = static_cast<size_t>(shape[0]),
               pixels = static_cast<size_t>(element_count(shape)) / channels;
  return [=](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    Numbers y(3 * channels, start);
    for (size_t s = 0; s < 3; ++s)
      for (size_t p = 0; p < pixels; ++p)
        for (size_t c = 0; c < channels; ++c)
          y[s * channels + c] = join(y[s * channels + c], inputs[0][(s * pixels + p) * channels + c],
                                     static_cast<double>(pixels));
    return y;
  };
}

TEST(GlobalAveragePool, Means) {
  EXPECT_EQ(completed(global("GlobalAveragePool", {5, 3, 4})).output, (Shape{5, 1, 1}));
  for (const Shape& shape : shapes)
    check_op(global("GlobalAveragePool", shape),
             over_pixels(shape, 0, [](double y, double x, double count) { return y + x / count; }));
}

TEST(GlobalMaxPool, Largest) {
  EXPECT_EQ(completed(global("GlobalMaxPool", {7, 9})).output, (Shape{7, 1}));
  for (const Shape& shape : shapes)
    check_op(global("GlobalMaxPool", shape),
             over_pixels(shape, -1e9, [](double y, double x, double) { return x > y ? x : y; }));
}

TEST(GlobalMaxPool, TheFirstOfEqualOnesTakesTheGradientAndNanWins) {
  OpSpec spec = global("GlobalMaxPool", {1, 4});
  spec.samples = 2;
  spec = completed(spec);
  Operands operands = random_operands(spec);
  operands.inputs[0] = {1, 2, 2, 0, 3, std::numeric_limits<float>::quiet_NaN(), 5, 4};
  operands.output_gradient = {7, 9};
  const Results results = run_op(spec, operands);
  EXPECT_EQ(results.output[0], 2.0f);
  EXPECT_TRUE(std::isnan(results.output[1]));
  EXPECT_EQ(results.input_gradients[0], (Floats{0, 7, 0, 0, 0, 9, 0, 0}));
}

/// Of sequences [C, T] in memory order: the mean or the largest of the first ones; 0 of none.
Reference up_to_lengths(const Shape& shape, bool mean) {
  const auto channels = static_cast<size_t>(shape[0]), steps = static_cast<size_t>(shape[1]);
  return [=](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    Numbers y(inputs[1].size() * channels, 0);
    for (size_t s = 0; s < inputs[1].size(); ++s)
      for (size_t c = 0; c < channels; ++c) {
        const auto count = std::min(steps, static_cast<size_t>(std::max(0.0, inputs[1][s])));
        double& to = y[s * channels + c];
        for (size_t p = 0; p < count; ++p) {
          const double x = inputs[0][(s * steps + p) * channels + c];
          to = mean ? to + x / static_cast<double>(count) : p == 0 || x > to ? x : to;
        }
      }
    return y;
  };
}

OpSpec ending(const char* type, const Shape& input) {
  OpSpec spec = global(type, input);
  spec.samples = 5;
  spec.inputs.push_back({1});
  spec.input_needs_gradient = {true, false};
  return spec;
}

TEST(GlobalPool, UpToLengths) {
  for (const char* type : {"GlobalAveragePool", "GlobalMaxPool"})
    for (const Shape& shape : {Shape{7, 9}, Shape{19, 4}, Shape{1, 1}}) {
      const OpSpec spec = ending(type, shape);
      Operands operands = random_operands(completed(spec));
      operands.inputs[1] = {1, 4, 0, 100, static_cast<float>(shape[1])};
      check_op(spec, up_to_lengths(shape, type[6] == 'A'), 2e-6, &operands);
      OpSpec inference = spec;
      inference.training = false;
      check_op(inference, up_to_lengths(shape, type[6] == 'A'), 2e-6, &operands);
    }
}

TEST(GlobalPool, NothingComesFromBehindTheEndAndFullLengthsAreNone) {
  for (const char* type : {"GlobalAveragePool", "GlobalMaxPool"}) {
    const OpSpec with = completed(ending(type, {3, 4}));
    Operands operands = random_operands(with), other = operands;
    operands.inputs[1] = other.inputs[1] = {2, 4, 4, 4, 4};
    for (size_t i = 2 * 3; i < 4 * 3; ++i) other.inputs[0][i] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(run_op(with, operands).output, run_op(with, other).output);
    operands.inputs[1][0] = 4;
    const Results full = run_op(with, operands);
    OpSpec without = ending(type, {3, 4});
    without.inputs.pop_back();
    without.input_needs_gradient.pop_back();
    operands.inputs.pop_back();
    const Results none = run_op(completed(without), operands);
    EXPECT_EQ(full.output, none.output);
    EXPECT_EQ(full.input_gradients[0], none.input_gradients[0]);
  }
}

TEST(GlobalPool, Refusals) {
  for (const char* type : {"GlobalAveragePool", "GlobalMaxPool"}) {
    expect_refused(global(type, {10}), "not [10]");
    OpSpec lengths = global(type, {5, 3, 4});
    lengths.inputs.push_back({1});
    expect_refused(lengths, "of sequences [channels, length] alone");
    lengths.inputs = {{5, 3}, {2}};
    expect_refused(lengths, "a length for each sample, [1]");
  }
}

}  // namespace
}  // namespace lepton::ops
