// SPDX-License-Identifier: Apache-2.0
// Grain: what whole units leave idle, from nothing to nearly all of the time; and the unit size that is
// proposed loses as little as asked, or least.
#include "balance/grain.h"

#include <gtest/gtest.h>

#include <vector>

namespace lepton::balance {
namespace {

double loss(int64_t units, const std::vector<double>& speeds, std::vector<int> threads = {}) {
  threads.resize(speeds.size(), 1);
  return grain_loss(units, speeds, threads);
}

TEST(GrainLoss, IsNothingWhereUnitsComeOut) {
  EXPECT_EQ(loss(0, {1, 1}), 0);
  EXPECT_EQ(loss(1, {3}), 0);
  EXPECT_NEAR(loss(8, {1, 1, 1, 1}), 0, 1e-12);
  EXPECT_NEAR(loss(9, {1, 2}), 0, 1e-12);
  EXPECT_NEAR(loss(16, {4, 4}, {4, 4}), 0, 1e-12);
}

TEST(GrainLoss, IsTheShareOfTheThreadsTimeThatNobodyComputesIn) {
  EXPECT_NEAR(loss(3, {1, 1}), 1 - 3.0 / 4, 1e-12);
  EXPECT_NEAR(loss(5, {1, 1, 1, 1}), 1 - 5.0 / 8, 1e-12);
  EXPECT_NEAR(loss(1, {1, 1, 1, 1}), 1 - 1.0 / 4, 1e-12);
  EXPECT_NEAR(loss(5, {4}, {4}), 1 - 5.0 / 8, 1e-12);          // threads of one node lose as nodes do
  EXPECT_NEAR(loss(4, {10, 1}), 1 - 4.0 / (11 * 0.4), 1e-12);  // the slow one is left out
}

TEST(GrainLoss, IsWithinBoundsAndSmallWithManyUnits) {
  const std::vector<double> speeds = {1, 2.5, 0.3, 7};
  for (int64_t units = 1; units < 300; ++units) {
    const double lost = loss(units, speeds, {1, 2, 1, 4});
    EXPECT_GE(lost, 0) << units;
    EXPECT_LT(lost, 1) << units;
  }
  EXPECT_LT(loss(5000, speeds, {1, 2, 1, 4}), 0.01);
}

Grain finer(int64_t batch, int64_t unit, const std::vector<double>& speeds, double enough = 0.05) {
  const std::vector<int> threads(speeds.size(), 1);
  return finer_grain(batch, unit, speeds, threads, enough);
}

TEST(FinerGrain, IsTheLargestThatLosesLittleEnough) {
  const Grain four = finer(256, 64, {1, 1, 1});  // 4 units on 3 threads; 8 units lose 1/9; 16 lose 1/9
  EXPECT_EQ(four.unit_size, 8);                  // 32 units: 11 turns of 3
  EXPECT_NEAR(four.loss, 1 - 32.0 / 33, 1e-12);
  EXPECT_EQ(finer(256, 64, {1, 1, 1}, 0.12).unit_size, 32);
  EXPECT_EQ(finer(256, 64, {1, 1, 1}, 1.0 / 3 - 1e-9).unit_size, 32);
}

TEST(FinerGrain, IsNoneWhereTheGrainIsFineOrNoOtherHelps) {
  EXPECT_EQ(finer(256, 64, {1, 1}).unit_size, 0);
  EXPECT_NEAR(finer(256, 64, {1, 1}).loss, 0, 1e-12);
  EXPECT_EQ(finer(1, 1, {1, 1}).unit_size, 0);
  EXPECT_NEAR(finer(1, 1, {1, 1}).loss, 0.5, 1e-12);
  const Grain half = finer(256, 64, {1, 1, 1}, 1.0 / 3 + 1e-9);  // what there is loses a third: enough
  EXPECT_EQ(half.unit_size, 0);
  EXPECT_NEAR(half.loss, 1.0 / 3, 1e-12);
}

TEST(FinerGrain, IsElseTheOneThatLosesLeast) {
  const std::vector<double> speeds(7, 1);
  const Grain best = finer(8, 8, speeds, 0);
  double least = 1;
  for (const int64_t units : {1, 2, 4, 8}) least = std::min(least, loss(units, speeds));
  EXPECT_DOUBLE_EQ(best.loss, least);
  EXPECT_EQ(best.unit_size, 2);  // 4 of 7 threads; 8 units need two turns, and lose as much: the larger one
}

}  // namespace
}  // namespace lepton::balance
