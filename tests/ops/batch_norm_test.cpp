// SPDX-License-Identifier: Apache-2.0
// BatchNormalization against double: training statistics, gradients through them, inference, fused Relu,
// accuracy far from zero, many rows.
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec batch_norm(int64_t n, const Shape& input, bool training = true) {
  const Shape channels{input[0]};
  return {.type = "BatchNormalization",
          .samples = n,
          .training = training,
          .inputs = {input},
          .parameters = {channels, channels, channels, channels}};
}

struct Moments {
  double mean = 0, variance = 0;
};

Moments moments(const Numbers& x, size_t channels, size_t c) {
  const double rows = static_cast<double>(x.size() / channels);
  Moments m;
  for (size_t i = c; i < x.size(); i += channels) m.mean += x[i] / rows;
  for (size_t i = c; i < x.size(); i += channels) m.variance += (x[i] - m.mean) * (x[i] - m.mean) / rows;
  return m;
}

Reference batch_norm_reference(size_t channels, double epsilon, bool training = true, bool relu = false) {
  return [=](const std::vector<Numbers>& inputs, const std::vector<Numbers>& p) {
    Numbers y(inputs[0].size());
    for (size_t c = 0; c < channels; ++c) {
      const Moments m = training ? moments(inputs[0], channels, c) : Moments{p[2][c], p[3][c]};
      for (size_t i = c; i < y.size(); i += channels) {
        y[i] = (inputs[0][i] - m.mean) / std::sqrt(m.variance + epsilon) * p[0][c] + p[1][c];
        if (relu && y[i] < 0) y[i] = 0;
      }
    }
    return y;
  };
}

TEST(BatchNorm, Training) {
  check_op(batch_norm(3, {5, 3, 4}), batch_norm_reference(5, 1e-5), 3e-6);
  check_op(batch_norm(7, {6}), batch_norm_reference(6, 1e-5), 3e-6);
  check_op(batch_norm(2, {16, 5, 5}), batch_norm_reference(16, 1e-5), 3e-6);
  check_op(batch_norm(2, {33, 2, 3}), batch_norm_reference(33, 1e-5), 3e-6);
}

TEST(BatchNorm, Epsilon) {
  OpSpec spec = batch_norm(3, {5, 3, 4});
  spec.attributes["epsilon"] = 0.3;
  check_op(spec, batch_norm_reference(5, 0.3), 3e-6);
}

TEST(BatchNorm, FusedRelu) {
  OpSpec spec = batch_norm(3, {5, 3, 4});
  spec.activation = "Relu";
  check_op(spec, batch_norm_reference(5, 1e-5, true, true), 3e-6);
}

TEST(BatchNorm, InferenceUsesRunningStatistics) {
  OpSpec spec = completed(batch_norm(3, {5, 3, 4}, false));
  Operands operands = random_operands(spec);
  operands.parameters[3] = random_floats(5, 77, 0.5f, 2);
  check_op(spec, batch_norm_reference(5, 1e-5, false), 3e-6, &operands);
  spec.activation = "Relu";
  check_op(spec, batch_norm_reference(5, 1e-5, false, true), 3e-6, &operands);
  EXPECT_TRUE(make_op(spec)->in_place());
  spec.training = true;
  EXPECT_FALSE(make_op(spec)->in_place());
}

TEST(BatchNorm, TrainsByRunningStatisticsInTrainingMode0) {
  OpSpec spec = batch_norm(3, {5, 3, 4});
  spec.attributes["training_mode"] = int64_t{0};
  spec = completed(spec);
  Operands operands = random_operands(spec);
  operands.parameters[3] = random_floats(5, 77, 0.5f, 2);
  check_op(spec, batch_norm_reference(5, 1e-5, false), 3e-6, &operands);
  spec.activation = "Relu";
  check_op(spec, batch_norm_reference(5, 1e-5, false, true), 3e-6, &operands);
  EXPECT_FALSE(make_op(spec)->in_place());  // backward needs the input
  for (const Floats& statistic : run_op(spec, operands).statistics)
    for (const float value : statistic) EXPECT_TRUE(std::isnan(value)) << "statistics are handed out";
}

TEST(BatchNorm, HandsOutStatisticsTimesSamples) {
  const OpSpec spec = completed(batch_norm(4, {5, 9, 9}));
  const Operands operands = random_operands(spec);
  const Results results = run_op(spec, operands);
  ASSERT_EQ(results.statistics.size(), 2u);
  for (size_t c = 0; c < 5; ++c) {
    const Moments m = moments(widen(operands.inputs[0]), 5, c);
    EXPECT_NEAR(static_cast<double>(results.statistics[0][c]), 4 * m.mean, 1e-6);
    const double rows = 4 * 81;  // the variance is the unbiased one
    EXPECT_NEAR(static_cast<double>(results.statistics[1][c]), 4 * m.variance * rows / (rows - 1), 1e-6);
  }
}

TEST(BatchNorm, AccurateFarFromZeroAndOverManyRows) {
  const OpSpec spec = completed(batch_norm(64, {3, 32, 32}));
  Operands operands = random_operands(spec);
  for (float& value : operands.inputs[0]) value += 1000;
  const Results results = run_op(spec, operands);
  for (size_t c = 0; c < 3; ++c) {
    const Moments m = moments(widen(operands.inputs[0]), 3, c);
    EXPECT_NEAR(static_cast<double>(results.statistics[0][c]) / 64, m.mean, 1e-7 * m.mean);
    EXPECT_NEAR(static_cast<double>(results.statistics[1][c]) / 64, m.variance * 65536 / 65535,
                1e-5 * m.variance);
  }
}

/// There is nothing to estimate a variance from.
TEST(BatchNorm, OneRowHasNoVariance) {
  const OpSpec spec = completed(batch_norm(1, {3}));
  const Results results = run_op(spec, random_operands(spec));
  for (const float value : results.statistics[1]) EXPECT_EQ(value, 0);
}

TEST(BatchNorm, NaNReachesTheOutput) {
  const OpSpec spec = completed(batch_norm(2, {2, 2, 2}));
  Operands operands = random_operands(spec);
  operands.inputs[0][0] = NAN;
  const Results results = run_op(spec, operands);
  EXPECT_TRUE(std::isnan(results.output[2]));
  EXPECT_TRUE(std::isnan(results.statistics[0][0]));
  EXPECT_TRUE(std::isnan(results.statistics[1][0]));
  EXPECT_FALSE(std::isnan(results.output[3]));
}

TEST(BatchNorm, RefusesWhatDoesNotFit) {
  OpSpec spec = batch_norm(2, {5, 2, 2});
  spec.parameters[2] = {4};
  expect_refused(spec, "[4] does not fit the input [5, 2, 2]");
  spec = batch_norm(2, {5, 2, 2});
  spec.parameters.pop_back();
  expect_refused(spec, "needs scale");
}

}  // namespace
}  // namespace lepton::ops
