// SPDX-License-Identifier: Apache-2.0
// Plans of rounds: who learns what from which rounds, by each policy; what a plan says of a node.
#include "balance/planner.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/error.h"

namespace lepton::balance {
namespace {

using Counts = std::vector<int64_t>;
const Counts one_class = {1};

Counts sizes(const RoundPlan& plan) {
  Counts counts;
  for (const UnitRange& range : plan.ranges) counts.push_back(range.size());
  return counts;
}

RoundPlan planned(Planner& planner, Purpose purpose, int64_t units, int64_t number = 0) {
  RoundPlan plan;
  planner.plan(purpose, number, units, plan);
  return plan;
}

/// Two rounds in which node n took `unit_ms[n]` of thread time for a unit.
void learn(Planner& planner, Purpose purpose, const Counts& unit_ms) {
  Counts units, busy_ns;
  for (const int64_t ms : unit_ms) {
    units.push_back(4);
    busy_ns.push_back(4 * ms * 1'000'000);
  }
  for (int round = 0; round < 2; ++round) planner.observe(purpose, units, busy_ns);
}

TEST(Planner, BeforeAnythingWasMeasuredThreadsCount) {
  for (const Policy policy : {Policy::static_, Policy::proportional, Policy::steal}) {
    Planner planner(policy, {1, 3}, {0, 0}, one_class);
    EXPECT_EQ(planner.policy(), policy);
    const RoundPlan plan = planned(planner, Purpose::train, 8);
    EXPECT_EQ(sizes(plan), (Counts{2, 6}));
    EXPECT_EQ(plan.ranges[1], (UnitRange{2, 8}));
    EXPECT_EQ(plan.end_s, 0);  // nobody knows
    EXPECT_EQ(plan.nodes[1].units, 6);
    EXPECT_EQ(plan.nodes[1].threads, 3);
    EXPECT_EQ(plan.nodes[1].unit_s, 0);
    EXPECT_EQ(plan.nodes[1].end_s, 0);
  }
}

TEST(Planner, LearnedSpeedsCountUnlessThePlanIsStatic) {
  for (const Policy policy : {Policy::static_, Policy::proportional, Policy::steal}) {
    Planner planner(policy, {1, 1}, {0, 0}, one_class);
    learn(planner, Purpose::train, {10, 30});
    EXPECT_EQ(sizes(planned(planner, Purpose::train, 12)),
              policy == Policy::static_ ? (Counts{6, 6}) : (Counts{9, 3}));
  }
}

TEST(Planner, SaysWhenEachNodeEnds) {
  Planner planner(Policy::steal, {2, 1}, {0, 0}, one_class);
  learn(planner, Purpose::train, {20, 20});
  const RoundPlan plan = planned(planner, Purpose::train, 10);
  ASSERT_EQ(plan.nodes[0].units + plan.nodes[1].units, 10);
  for (const NodePlan& node : plan.nodes) {
    EXPECT_NEAR(node.unit_s, 0.02, 1e-9);  // of one thread
    const auto turns = static_cast<double>((node.units + node.threads - 1) / node.threads);
    EXPECT_NEAR(node.end_s, turns * 0.02, 1e-9);
  }
  EXPECT_EQ(plan.end_s, std::max(plan.nodes[0].end_s, plan.nodes[1].end_s));
  EXPECT_NEAR(plan.end_s, 0.08, 1e-9);
}

TEST(Planner, EvaluationIsLearnedApart) {
  Planner planner(Policy::steal, {1, 1}, {0, 0}, one_class);
  learn(planner, Purpose::train, {10, 30});
  EXPECT_EQ(sizes(planned(planner, Purpose::evaluate, 12)), (Counts{6, 6}));
  EXPECT_EQ(planned(planner, Purpose::evaluate, 12).end_s, 0);
  EXPECT_FALSE(planner.speeds(Purpose::evaluate).measured());
  EXPECT_TRUE(planner.speeds(Purpose::train).measured());
  learn(planner, Purpose::evaluate, {3, 1});
  EXPECT_EQ(sizes(planned(planner, Purpose::evaluate, 12)), (Counts{3, 9}));
  EXPECT_EQ(sizes(planned(planner, Purpose::train, 12)), (Counts{9, 3}));
}

TEST(Planner, ClassesKeepTheirShares) {
  Planner planner(Policy::steal, {1, 1, 1}, {1, 0, 1}, Counts{1, 2});
  learn(planner, Purpose::train, {10, 1, 10});
  const RoundPlan plan = planned(planner, Purpose::train, 12);
  EXPECT_EQ(plan.class_begins, (Counts{0, 4, 12}));
  EXPECT_EQ(sizes(plan), (Counts{4, 4, 4}));  // however quick the second node is
  EXPECT_EQ(plan.ranges[1], (UnitRange{0, 4}));
  EXPECT_EQ(plan.nodes[0].node_class, 1);
  EXPECT_EQ(plan.nodes[1].node_class, 0);
}

TEST(Planner, TheNumberOfARoundSaysWhichClassGetsTheOddUnit) {
  Planner planner(Policy::steal, {1, 1}, {0, 1}, Counts{1, 1});
  int64_t first = 0;
  for (int64_t number = 0; number < 10; ++number)
    first += sizes(planned(planner, Purpose::train, 3, number))[0];
  EXPECT_EQ(first, 15);
}

TEST(Planner, AllPlanAlike) {
  Planner one(Policy::steal, {2, 1, 4}, {0, 0, 0}, one_class),
      other(Policy::steal, {2, 1, 4}, {0, 0, 0}, one_class);
  RoundPlan kept;
  for (int64_t number = 0; number < 50; ++number) {
    one.plan(Purpose::train, number, 20 + number % 3, kept);
    const RoundPlan fresh = planned(other, Purpose::train, 20 + number % 3, number);
    EXPECT_EQ(kept.ranges, fresh.ranges);
    EXPECT_EQ(kept.end_s, fresh.end_s);
    EXPECT_EQ(kept.ranges.front().begin, 0);
    EXPECT_EQ(kept.ranges.back().end, 20 + number % 3);
    const Counts busy = {8'000'000 + number * 100'000, 30'000'000, 5'000'000};
    one.observe(Purpose::train, Counts{8, 4, 10}, busy);
    other.observe(Purpose::train, Counts{8, 4, 10}, busy);
  }
}

TEST(Planner, ANodeWithoutAClassIsABug) {
  EXPECT_THROW(Planner(Policy::steal, {1, 1}, {0}, one_class), Error);
}

}  // namespace
}  // namespace lepton::balance
