// SPDX-License-Identifier: Apache-2.0
// plan_units: every unit on one node, shares within one unit of proportional, the same on every call.
#include "balance/plan.h"

#include <gtest/gtest.h>

#include <cmath>
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

}  // namespace
}  // namespace lepton::balance
