// SPDX-License-Identifier: Apache-2.0
// plan_units: every unit on one node, shares within one unit of proportional, the same on every call. Speeds:
// one outlier changes nothing, a real change counts after two steps, and what happens to nodes that were not
// measured.
#include "balance/plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/philox.h"

namespace lepton::balance {
namespace {

using Counts = std::vector<int64_t>;
using Values = std::vector<double>;

Counts planned(int64_t units, const Values& speeds) {
  Counts begins;
  plan_units(units, speeds, begins);
  Counts shares;
  for (size_t n = 0; n + 1 < begins.size(); ++n) shares.push_back(begins[n + 1] - begins[n]);
  return shares;
}

TEST(PlanUnits, CoversEveryUnitOnceInProportion) {
  uint64_t random = 1;
  Counts begins;
  for (int trial = 0; trial < 20'000; ++trial) {
    random = mix64(random);
    const auto nodes = static_cast<size_t>(1 + random % 9);
    const auto units = static_cast<int64_t>((random >> 8) % 300);
    Values speeds(nodes);
    for (double& speed : speeds)
      speed = std::ldexp(1.0 + static_cast<double>((random = mix64(random)) >> 40), -10);
    const double total = std::accumulate(speeds.begin(), speeds.end(), 0.0);
    plan_units(units, speeds, begins);
    ASSERT_EQ(begins.size(), nodes + 1);
    ASSERT_EQ(begins.front(), 0);
    ASSERT_EQ(begins.back(), units);
    for (size_t n = 0; n < nodes; ++n) {
      ASSERT_LE(begins[n], begins[n + 1]);
      const double fair = static_cast<double>(units) * speeds[n] / total;
      ASSERT_LT(std::fabs(static_cast<double>(begins[n + 1] - begins[n]) - fair), 1 + 1e-9);
    }
  }
}

TEST(PlanUnits, ByLargestRemainder) {
  EXPECT_EQ(planned(10, {1, 1}), (Counts{5, 5}));
  EXPECT_EQ(planned(10, {3, 1}), (Counts{8, 2}));  // 7.5 and 2.5: a tie goes to the lower node
  EXPECT_EQ(planned(10, {2, 5, 3}), (Counts{2, 5, 3}));
  EXPECT_EQ(planned(7, {1, 1, 1}), (Counts{3, 2, 2}));
  EXPECT_EQ(planned(5, {1, 2, 3}), (Counts{1, 2, 2}));  // .83, 1.67, 2.5
  EXPECT_EQ(planned(1, {1, 10}), (Counts{0, 1}));
  EXPECT_EQ(planned(0, {1, 2}), (Counts{0, 0}));
}

TEST(PlanUnits, OnlyRatiosCount) {
  for (const double factor : {1e-12, 1.0, 1e15})
    EXPECT_EQ(planned(100, {3 * factor, 1 * factor}), (Counts{75, 25}));
}

TEST(PlanUnits, ExtremeSpeedsStillCover) {
  EXPECT_EQ(planned(100, {1e300, 1e-300}), (Counts{100, 0}));
  EXPECT_EQ(planned(3, {1e-300, 1, 1e-300}), (Counts{0, 3, 0}));
  for (int64_t units = 0; units < 2000; ++units) {
    const Counts shares = planned(units, {0.1, 0.1, 0.1, 0.7, 1.0 / 3});
    EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), int64_t{0}), units);
  }
}

TEST(PlanUnits, IsAPureFunction) {
  const Values speeds{0.31, 0.17, 0.52};
  Counts begins(1, 77), again;
  plan_units(1000, speeds, begins);
  plan_units(1000, speeds, again);
  EXPECT_EQ(begins, again);
}

TEST(ClassPlan, EachClassSharesItsUnitsOutBySpeed) {
  ClassPlan plan({1, 0, 1, 0});
  const auto ranges = plan.plan(Counts{0, 10, 30}, Values{1, 4, 3, 1});
  EXPECT_EQ(std::vector<UnitRange>(ranges.begin(), ranges.end()),
            (std::vector<UnitRange>{{10, 15}, {0, 8}, {15, 30}, {8, 10}}));
}

TEST(ClassPlan, OneClassIsPlannedAsWithoutClasses) {
  ClassPlan plan({0, 0, 0});
  for (const int64_t units : {1, 7, 100}) {
    Counts begins;
    plan_units(units, Values{0.3, 1, 0.9}, begins);
    const auto ranges = plan.plan(Counts{0, units}, Values{0.3, 1, 0.9});
    for (size_t n = 0; n < 3; ++n) EXPECT_EQ(ranges[n], (UnitRange{begins[n], begins[n + 1]}));
  }
}

/// One round: units done and seconds per unit and thread of each node.
void observe(Speeds& speeds, const Counts& units, const Values& unit_s) {
  Counts busy_ns(units.size());
  for (size_t n = 0; n < units.size(); ++n)
    busy_ns[n] = std::llround(static_cast<double>(units[n]) * unit_s[n] * 1e9);
  speeds.observe(units, busy_ns);
}

Values current(const Speeds& speeds) {
  return {speeds.current().begin(), speeds.current().end()};
}

TEST(Speeds, BeginAsThreadCounts) {
  const Speeds speeds({1, 4, 2});
  EXPECT_EQ(current(speeds), (Values{1, 4, 2}));
}

TEST(Speeds, AreUnitsPerSecondOfAllThreads) {
  Speeds speeds({1, 4});
  for (int round = 0; round < 3; ++round) observe(speeds, {10, 10}, {0.01, 0.01});
  EXPECT_NEAR(speeds.current()[0], 100, 1e-6);
  EXPECT_NEAR(speeds.current()[1], 400, 1e-6);  // four threads at once
}

TEST(Speeds, OneOutlierChangesNothing) {
  Speeds speeds({1, 1});
  for (int round = 0; round < 5; ++round) observe(speeds, {10, 10}, {0.01, 0.02});
  const Values before = current(speeds);
  for (const double outlier : {1.0, 1e-5}) {
    observe(speeds, {10, 10}, {outlier, 0.02});
    EXPECT_EQ(current(speeds), before) << outlier;
    for (int round = 0; round < 2; ++round) {
      observe(speeds, {10, 10}, {0.01, 0.02});
      EXPECT_EQ(current(speeds), before) << outlier;
    }
  }
}

TEST(Speeds, ARealChangeCountsAfterTwoSteps) {
  Speeds speeds({1, 1});
  for (int round = 0; round < 5; ++round) observe(speeds, {10, 10}, {0.01, 0.01});
  observe(speeds, {10, 10}, {0.04, 0.01});
  EXPECT_NEAR(speeds.current()[0], 100, 1e-6);
  observe(speeds, {10, 10}, {0.04, 0.01});
  EXPECT_NEAR(speeds.current()[0], 25, 1e-6);
  EXPECT_NEAR(speeds.current()[1], 100, 1e-6);
}

TEST(Speeds, ANodeWithoutUnitsKeepsItsEstimate) {
  Speeds speeds({1, 1});
  for (int round = 0; round < 3; ++round) observe(speeds, {10, 10}, {0.01, 0.05});
  for (int round = 0; round < 10; ++round) observe(speeds, {20, 0}, {0.01, 0});
  EXPECT_NEAR(speeds.current()[1], 20, 1e-6);
}

TEST(Speeds, ANodeNeverMeasuredIsTakenForAverage) {
  Speeds speeds({1, 2, 3});
  observe(speeds, {10, 10, 0}, {0.01, 0.01, 0});
  EXPECT_NEAR(speeds.current()[0], 100, 1e-6);
  EXPECT_NEAR(speeds.current()[1], 200, 1e-6);
  EXPECT_NEAR(speeds.current()[2], 300, 1e-6);  // 100 per thread
}

TEST(Speeds, NothingMeasuredChangesNothing) {
  Speeds speeds({2, 3});
  speeds.observe(Counts{0, 0}, Counts{0, 0});
  speeds.observe(Counts{5, 5}, Counts{0, 0});  // a clock that stood still
  EXPECT_EQ(current(speeds), (Values{2, 3}));
}

TEST(Speeds, TheSameObservationsGiveTheSameBits) {
  Speeds one({3, 1, 2}), other({3, 1, 2});
  for (int round = 0; round < 7; ++round) {
    const Counts units{10 + round, 4, 7}, busy{1'000'003 * (round + 1), 77'777, 123'457};
    one.observe(units, busy);
    other.observe(units, busy);
  }
  const Values a = current(one), b = current(other);
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(double)), 0);
}

}  // namespace
}  // namespace lepton::balance
