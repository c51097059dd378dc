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

TEST(GlobalPool, Refusals) {
  for (const char* type : {"GlobalAveragePool", "GlobalMaxPool"})
    expect_refused(global(type, {10}), "not [10]");
}

}  // namespace
}  // namespace lepton::ops
