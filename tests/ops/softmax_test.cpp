// SPDX-License-Identifier: Apache-2.0
// Softmax against double: vectors, sequences, channels of images, large scores, refusals.
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec softmax(const Shape& input) {
  return {.type = "Softmax", .samples = 3, .training = true, .inputs = {input}};
}

Reference softmax_reference(size_t width) {
  return [width](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    Numbers y;
    for (size_t row = 0; row < inputs[0].size(); row += width) {
      double sum = 0;
      for (size_t i = 0; i < width; ++i) sum += std::exp(inputs[0][row + i]);
      for (size_t i = 0; i < width; ++i) y.push_back(std::exp(inputs[0][row + i]) / sum);
    }
    return y;
  };
}

TEST(Softmax, LastDimensionOfMemory) {
  check_op(softmax({10}), softmax_reference(10), 1e-6);
  check_op(softmax({4, 19}), softmax_reference(19), 1e-6);
  check_op(softmax({2, 3, 5}), softmax_reference(5), 1e-6);
}

TEST(Softmax, LargeScoresDoNotOverflow) {
  const OpSpec spec = completed(softmax({3}));
  Operands operands = random_operands(spec);
  operands.inputs[0] = {1000, 1000, -1000, -3e38f, 0, 3e38f, 0, 0, 0};
  EXPECT_EQ(run_op(spec, operands).output[0], 0.5f);
  EXPECT_EQ(run_op(spec, operands).output[5], 1.0f);
}

TEST(Softmax, Axis) {
  OpSpec spec = softmax({5, 2, 3});
  for (const int64_t axis : {1, -3}) {
    spec.attributes["axis"] = axis;
    check_op(spec, softmax_reference(5), 1e-6);
  }
  spec.attributes["axis"] = int64_t{3};
  check_op(spec, softmax_reference(3), 1e-6);
  spec.attributes["axis"] = int64_t{2};
  expect_refused(spec, "axis 1 or the last one of [5, 2, 3], not 2");
  spec = softmax({5});
  spec.attributes["axis"] = int64_t{-1};
  check_op(spec, softmax_reference(5), 1e-6);
  spec.attributes["axis"] = int64_t{2};
  expect_refused(spec, "no axis 2");
}

TEST(Softmax, Logarithms) {
  const auto logarithms = [](size_t width) {
    return [width](const std::vector<Numbers>& inputs, const std::vector<Numbers>& parameters) {
      Numbers y = softmax_reference(width)(inputs, parameters);
      for (double& value : y) value = std::log(value);
      return y;
    };
  };
  OpSpec spec = softmax({10});
  spec.type = "LogSoftmax";
  check_op(spec, logarithms(10), 1e-6);
  spec.inputs = {{4, 19}};
  check_op(spec, logarithms(19), 1e-6);
  spec.inputs = {{5, 2, 3}};
  check_op(spec, logarithms(3), 1e-6);
  spec.attributes["axis"] = int64_t{1};
  check_op(spec, logarithms(5), 1e-6);
  spec.attributes["axis"] = int64_t{2};
  expect_refused(spec, "LogSoftmax is computed over axis 1 or the last one");
}

TEST(Softmax, LogarithmsOfSmallSharesStayFinite) {
  OpSpec open = softmax({3});
  open.type = "LogSoftmax";
  const OpSpec spec = completed(open);
  Operands operands = random_operands(spec);
  operands.inputs[0] = {1000, 0, -1000, 1, NAN, 1, 0, 0, 0};
  const Results results = run_op(spec, operands);
  EXPECT_EQ(results.output[0], 0.0f);
  EXPECT_EQ(results.output[2], -2000.0f);
  for (const size_t i : {3, 4, 5}) EXPECT_TRUE(std::isnan(results.output[i]));
}

}  // namespace
}  // namespace lepton::ops
