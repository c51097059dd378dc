// SPDX-License-Identifier: Apache-2.0
// Probes: when a node without units is tried again, at most how often, that its unit's time counts and that
// of all slow nodes together, and that one found quicker is tried once more at once.
#include "balance/probes.h"

#include <gtest/gtest.h>

#include <vector>

namespace lepton::balance {
namespace {

using Plans = std::vector<int64_t>;

/// What a plan of some nodes is without probes, and what is known of the nodes.
struct Round {
  explicit Round(size_t nodes) : ranges(nodes), unit_ends(nodes, 1.0), quickened(nodes, 0) {}
  std::vector<UnitRange> ranges;
  std::vector<double> unit_ends;
  std::vector<uint8_t> quickened;
  std::vector<int64_t> class_begins{0, 100};

  std::vector<int> chosen(Probes& probes) const {
    std::vector<int> nodes;
    const auto marks = probes.choose(ranges, unit_ends, quickened, class_begins);
    for (size_t n = 0; n < marks.size(); ++n)
      if (marks[n]) nodes.push_back(static_cast<int>(n));
    EXPECT_EQ(marks.empty(), nodes.empty());
    return nodes;
  }
};

/// Two nodes, the second without units: a unit of its ends at `unit_end`.
Round second_idle(double unit_end) {
  Round round(2);
  round.ranges[0] = {0, 100};
  round.ranges[1] = {100, 100};
  round.unit_ends[1] = unit_end;
  return round;
}

Plans probed_plans(Probes& probes, const Round& round, int64_t plans) {
  Plans at;
  for (int64_t plan = 0; plan < plans; ++plan)
    if (!round.chosen(probes).empty()) at.push_back(plan);
  return at;
}

TEST(Probes, AfterTwoPlansAndThenAtDoubledIntervals) {
  Probes probes({0, 0});
  EXPECT_EQ(probed_plans(probes, second_idle(0.9), 20'000),
            (Plans{2, 6, 14, 30, 62, 126, 254, 510, 1022, 2046, 4094, 8190, 12286, 16382}));
}

TEST(Probes, NotSoonerThan32TimesItsUnitLater) {
  Probes probes({0, 0});
  EXPECT_EQ(probed_plans(probes, second_idle(10), 1500), (Plans{2, 322, 642, 962, 1282}));
  Probes slow({0, 0});
  EXPECT_EQ(probed_plans(slow, second_idle(1000), 70'000), (Plans{2, 32002, 64002}));
  Probes dead({0, 0});
  EXPECT_EQ(probed_plans(dead, second_idle(1e300), 10'000), (Plans{2}));
}

TEST(Probes, ANodeWithUnitsIsNotProbedAndBeginsAnew) {
  Probes probes({0, 0});
  Round round = second_idle(1);
  EXPECT_EQ(probed_plans(probes, round, 100), (Plans{2, 6, 14, 30, 62}));
  round.ranges[1] = {90, 100};
  EXPECT_EQ(probed_plans(probes, round, 100), (Plans{}));
  round.ranges[1] = {100, 100};
  EXPECT_EQ(probed_plans(probes, round, 20), (Plans{2, 6, 14}));
}

TEST(Probes, TheSlowestOfARoundIsPaidFor) {
  Probes probes({0, 0, 0});
  Round round(3);
  round.ranges = {{0, 100}, {100, 100}, {100, 100}};
  round.unit_ends = {1, 10, 2};
  EXPECT_EQ(probed_plans(probes, round, 400), (Plans{2, 322}));
}

TEST(Probes, ManySlowNodesGoTogether) {
  const int nodes = 10;
  Probes probes(std::vector<int>(nodes, 0));
  Round round(nodes);
  for (int n = 0; n < nodes; ++n) {
    round.ranges[n] = {100 * n, 100 * (n + 1)};
    round.unit_ends[n] = 30 - n;
  }
  double cost = 0;
  int64_t probed = 0;
  const int64_t plans = 200'000;
  for (int64_t plan = 0; plan < plans; ++plan) {
    if (plan < 9) round.ranges[plan + 1] = {100, 100};  // one after the other loses its units
    const std::vector<int> chosen = round.chosen(probes);
    if (plan > 20 && !chosen.empty()) cost += round.unit_ends[chosen.front()];
    probed += static_cast<int64_t>(chosen.size());
  }
  EXPECT_LT(cost, static_cast<double>(plans) / 32);
  EXPECT_GT(probed, 9 * plans / 4096 - 9);  // and yet no node is forgotten
}

TEST(Probes, TheFirstOneOfANodeWaitsForNoOther) {
  Probes probes({0, 0, 0});
  Round round(3);
  round.ranges = {{0, 80}, {80, 80}, {80, 100}};
  round.unit_ends[1] = round.unit_ends[2] = 10;
  EXPECT_EQ(probed_plans(probes, round, 10), (Plans{2}));
  round.ranges[2] = {80, 80};
  for (int plan = 0; plan < 2; ++plan) EXPECT_TRUE(round.chosen(probes).empty());
  EXPECT_EQ(round.chosen(probes), (std::vector<int>{2}));
  EXPECT_EQ(probed_plans(probes, round, 1000).front(), 2 + 320 + 320 - 13);  // and both are paid for
}

TEST(Probes, AQuickerOneIsRepeatedOnceAsSoonAsItIsKnown) {
  Probes probes({0, 0});
  Round round = second_idle(10);
  EXPECT_EQ(probed_plans(probes, round, 4), (Plans{2}));
  round.quickened[1] = 1;  // known when the second plan after the probe is made
  EXPECT_EQ(probed_plans(probes, round, 300), (Plans{0}));
  round.quickened[1] = 0;
  Probes noisy({0, 0});
  round.quickened[1] = 1;
  EXPECT_EQ(probed_plans(noisy, round, 1000), (Plans{2, 4, 642, 644}));  // each pays for itself
  Probes cheap({0, 0});
  round.unit_ends[1] = 1;
  EXPECT_EQ(probed_plans(cheap, round, 40), (Plans{2, 4, 8, 10, 18, 20, 36, 38}));  // intervals 4, 8, 16
}

TEST(Probes, WhatIsQuickOfANodeWithUnitsIsNoReason) {
  Probes probes({0, 0});
  Round round = second_idle(1);
  round.ranges[1] = {90, 100};
  round.quickened[1] = 1;
  EXPECT_EQ(probed_plans(probes, round, 10), (Plans{}));
  round.ranges[1] = {100, 100};
  EXPECT_EQ(probed_plans(probes, round, 4), (Plans{2}));
}

TEST(Probes, LeaveHalfOfTheUnits) {
  Probes probes({0, 0, 0, 0, 0});
  Round round(5);
  round.class_begins = {0, 4};
  round.ranges = {{0, 4}, {4, 4}, {4, 4}, {4, 4}, {4, 4}};
  EXPECT_TRUE(round.chosen(probes).empty());
  EXPECT_TRUE(round.chosen(probes).empty());
  EXPECT_EQ(round.chosen(probes), (std::vector<int>{1, 2}));
  EXPECT_EQ(round.chosen(probes), (std::vector<int>{3, 4}));  // who had to wait is next
  Probes single({0, 0});
  Round one = second_idle(1);
  one.class_begins = {0, 1};
  one.ranges = {{0, 1}, {1, 1}};
  EXPECT_EQ(probed_plans(single, one, 5), (Plans{2}));  // the only unit, or it would never be known
}

TEST(Probes, ANodeWhoseClassHasNoUnitsIsNotIdle) {
  Probes probes({0, 1, 1});
  Round round(3);
  round.ranges = {{0, 100}, {100, 100}, {100, 100}};
  round.class_begins = {0, 100, 100};
  EXPECT_EQ(probed_plans(probes, round, 100), (Plans{}));
  round.class_begins = {0, 90, 100};
  round.ranges = {{0, 90}, {90, 100}, {100, 100}};
  EXPECT_EQ(probed_plans(probes, round, 4), (Plans{2}));
}

}  // namespace
}  // namespace lepton::balance
