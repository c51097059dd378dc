// SPDX-License-Identifier: Apache-2.0
// The formulas against numbers worked out by hand, against published ones, and against what they bound.
#include "train/estimate.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lepton::train {
namespace {

constexpr StateSize state{1'000'000, 2, 800};

TEST(Estimate, OneNodeOnlyUpdates) {
  const StepEnd end = step_end(state, {1, 1e-3, 1e9, 1e9});
  EXPECT_EQ(end.reduce_s + end.lanes_s + end.gather_s, 0);
  // Clears 8 MB, and reads and writes the sum, the parameters and two moments: 32 bytes of each element.
  EXPECT_NEAR(end.update_s, 0.040, 1e-12);
  EXPECT_NEAR(end.total_s(), 0.040, 1e-12);
}

TEST(Estimate, NodesExchangeWhatTheyDoNotOwn) {
  const StepEnd end = step_end(state, {4, 1e-3, 1e9, 1e9});
  EXPECT_NEAR(end.reduce_s, 3e-3 + 0.75 * 8e-3, 1e-12);
  EXPECT_NEAR(end.gather_s, 3e-3 + 0.75 * 4e-3, 1e-12);
  EXPECT_NEAR(end.lanes_s, 2 * (1e-3 + 800e-9), 1e-12);
  EXPECT_NEAR(end.update_s, 8e-3 + 8e-3, 1e-12);
  EXPECT_NEAR(step_end(state, {5, 1e-3, 1e9, 1e9}).lanes_s, 3 * (1e-3 + 800e-9), 1e-12);
}

TEST(Estimate, WhatWasMeasuredElsewhereIsPartOfTheEnd) {
  StepEnd end = step_end(state, {1, 0, 1e9, 1e9});
  const double before_s = end.total_s();
  end.other_s = 1;
  EXPECT_NEAR(end.total_s(), before_s + 1, 1e-12);
}

TEST(Estimate, WritingIsBoundByFilesOrByLinks) {
  EXPECT_NEAR(write_s(10e9, 5e9, 100, 1e9, 0), 2, 1e-12);
  EXPECT_NEAR(write_s(10e9, 5e9, 2, 1e9, 0), 5, 1e-12);
  EXPECT_NEAR(write_s(10e9, 5e9, 2, 1e9, 0.25), 5.25, 1e-12);
}

// J. T. Daly, FGCS 22 (2006), figures 3 to 5: five minutes of writing; 24 hours, 6 hours and 15 minutes
// between failures: 117, 57 and 9.1 minutes.
TEST(Estimate, TheBestIntervalIsDalys) {
  EXPECT_NEAR(daly_interval_s(300, 24 * 3600) / 60, 117, 0.5);
  EXPECT_NEAR(daly_interval_s(300, 6 * 3600) / 60, 57, 0.5);
  EXPECT_NEAR(daly_interval_s(300, 15 * 60) / 60, 9.1, 0.05);
  EXPECT_NEAR(young_interval_s(300, 24 * 3600) / 60, 120, 1e-9);
  EXPECT_EQ(daly_interval_s(300, 100), 100) << "writing takes more than twice the time between failures";
}

TEST(Estimate, TheBestIntervalLosesLeast) {
  for (const double mtbf_s : {3600.0, 86400.0}) {
    const double best_s = daly_interval_s(30, mtbf_s);
    const double loss = expected_s(1e6, best_s, 30, mtbf_s, 60);
    EXPECT_LT(loss, expected_s(1e6, best_s / 1.3, 30, mtbf_s, 60));
    EXPECT_LT(loss, expected_s(1e6, best_s * 1.3, 30, mtbf_s, 60));
  }
}

TEST(Estimate, WithoutFailuresOnlyWritingIsLost) {
  EXPECT_NEAR(expected_s(1000, 100, 1, 1e12, 60), 1010, 1e-3);
  EXPECT_NEAR(expected_s(1000, 1e9, 1, 1e12, 60), 1001, 1e-3) << "one at the end";
  EXPECT_GT(expected_s(1000, 100, 1, 1000, 60), expected_s(1000, 100, 1, 1000, 0)) << "restarts take time";
  EXPECT_TRUE(std::isinf(expected_s(1e9, 1e6, 1, 1, 0))) << "no interval is ever completed";
}

TEST(Estimate, ARunHasShortLastStepsAndEvaluations) {
  RunLength length{10, 3, 8, 2, 0};
  // Each epoch: nine steps of 8 s and one with 2 of 8 units, and ten ends.
  EXPECT_NEAR(run_s(length, 8, 0.5), 3 * (72 + 2 + 5), 1e-9);
  length.evaluated_units = 30;
  EXPECT_NEAR(run_s(length, 8, 0.5), 3 * (72 + 2 + 5) + 10, 1e-9);
}

TEST(Estimate, TheAutomaticIntervalFollowsWritingAndFailures) {
  EXPECT_EQ(automatic_interval_s(0, 0, 0), 60) << "nothing was written yet";
  EXPECT_NEAR(automatic_interval_s(1, 0, 0), daly_interval_s(1, 86400), 1e-9) << "one failure a day";
  EXPECT_NEAR(automatic_interval_s(1, 10, 86400), daly_interval_s(1, 86400 / 11.0), 1e-9);
  EXPECT_EQ(automatic_interval_s(1e-4, 1000, 1000), 10);
  EXPECT_EQ(automatic_interval_s(30, 100000, 1000), 600) << "twenty times the writing";
  EXPECT_EQ(automatic_interval_s(1e4, 0, 0), 3600);
}

}  // namespace
}  // namespace lepton::train
