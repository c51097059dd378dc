// SPDX-License-Identifier: Apache-2.0
// The learning rate against the formulas in double, at first and last steps, in and behind the warm-up; each
// option has a test that fails when it is ignored.
#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace lepton::optim {
namespace {

constexpr double rate = 0.02;
const double pi = std::acos(-1.0);

OptimizerSpec with(const ScheduleSpec& schedule) {
  OptimizerSpec spec;
  spec.learning_rate = rate;
  spec.schedule = schedule;
  return spec;
}

TEST(Schedule, ConstantIsTheRate) {
  const OptimizerSpec spec = with({});
  for (const int64_t step : {int64_t{1}, int64_t{2}, int64_t{1'000'000'000'000}})
    EXPECT_EQ(learning_rate(spec, step), rate);
}

TEST(Schedule, WarmUpRisesLinearlyToTheRate) {
  const OptimizerSpec spec = with({.warmup_steps = 5});
  for (int64_t step = 1; step <= 5; ++step)
    EXPECT_DOUBLE_EQ(learning_rate(spec, step), rate * static_cast<double>(step) / 5);
  EXPECT_EQ(learning_rate(spec, 5), rate);
  EXPECT_EQ(learning_rate(spec, 6), rate);
}

TEST(Schedule, StepsMultiplyByTheFactor) {
  const OptimizerSpec spec = with({.kind = ScheduleKind::step, .step_every = 10, .factor = 0.5});
  EXPECT_EQ(learning_rate(spec, 1), rate);
  EXPECT_EQ(learning_rate(spec, 10), rate);
  EXPECT_EQ(learning_rate(spec, 11), rate * 0.5);
  EXPECT_EQ(learning_rate(spec, 20), rate * 0.5);
  EXPECT_EQ(learning_rate(spec, 21), rate * 0.25);
  EXPECT_DOUBLE_EQ(learning_rate(spec, 101), rate * std::pow(0.5, 10));
}

TEST(Schedule, StepsCountFromTheEndOfTheWarmUp) {
  const OptimizerSpec spec =
      with({.kind = ScheduleKind::step, .warmup_steps = 7, .step_every = 10, .factor = 0.1});
  EXPECT_EQ(learning_rate(spec, 7), rate);
  EXPECT_EQ(learning_rate(spec, 17), rate);
  EXPECT_DOUBLE_EQ(learning_rate(spec, 18), rate * 0.1);
}

TEST(Schedule, CosineAgainstLibm) {
  for (const int64_t steps : {2, 3, 10, 1000})
    for (const int64_t warmup : {int64_t{0}, int64_t{1}, steps / 2})
      for (const double last : {0.0, 0.1, 1.0}) {
        const OptimizerSpec spec = with(
            {.kind = ScheduleKind::cosine, .steps = steps, .warmup_steps = warmup, .final_factor = last});
        for (int64_t step = warmup + 1; step <= steps + 3; ++step) {
          const double x =
              std::min(1.0, static_cast<double>(step - 1 - warmup) / static_cast<double>(steps - warmup));
          const double expected = rate * (last + (1 - last) * 0.5 * (1 + std::cos(pi * x)));
          EXPECT_NEAR(learning_rate(spec, step), expected, 1e-15) << steps << " " << warmup << " " << step;
        }
      }
}

TEST(Schedule, CosineNeverRisesAndEndsAtTheFinalFactor) {
  const OptimizerSpec spec = with({.kind = ScheduleKind::cosine, .steps = 500, .final_factor = 0.25});
  for (int64_t step = 2; step <= 501; ++step)
    EXPECT_LE(learning_rate(spec, step), learning_rate(spec, step - 1)) << step;
  EXPECT_EQ(learning_rate(spec, 1), rate);
  EXPECT_DOUBLE_EQ(learning_rate(spec, 501), 0.25 * rate);
  EXPECT_EQ(learning_rate(spec, 100'000), learning_rate(spec, 501));  // behind its end it stays
}

TEST(Schedule, PolynomialAgainstLibm) {
  for (const double power : {0.5, 1.0, 2.0, 0.9, 3.75})
    for (const int64_t warmup : {0, 4})
      for (const double last : {0.0, 0.05}) {
        const OptimizerSpec spec = with({.kind = ScheduleKind::polynomial,
                                         .steps = 100,
                                         .warmup_steps = warmup,
                                         .power = power,
                                         .final_factor = last});
        for (int64_t step = warmup + 1; step <= 103; ++step) {
          const double x =
              std::min(1.0, static_cast<double>(step - 1 - warmup) / static_cast<double>(100 - warmup));
          const double expected = rate * (last + (1 - last) * std::pow(1 - x, power));
          EXPECT_NEAR(learning_rate(spec, step), expected, 1e-15) << power << " " << step;
        }
      }
}

TEST(Schedule, ConstantIgnoresTheLengthAndCosineDoesNot) {
  EXPECT_EQ(learning_rate(with({.kind = ScheduleKind::constant, .steps = 10}), 9), rate);
  EXPECT_NE(learning_rate(with({.kind = ScheduleKind::cosine, .steps = 10}), 9),
            learning_rate(with({.kind = ScheduleKind::cosine, .steps = 20}), 9));
}

TEST(Schedule, ALengthThatNobodyResolvedIsABug) {
  for (const ScheduleKind kind : {ScheduleKind::cosine, ScheduleKind::polynomial}) {
    try {
      learning_rate(with({.kind = kind}), 1);
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::software);
    }
  }
}

}  // namespace
}  // namespace lepton::optim
