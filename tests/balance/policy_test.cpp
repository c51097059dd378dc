// SPDX-License-Identifier: Apache-2.0
// When nodes report: on plan never, early or late by more than a unit, a message's worth and their slack,
// idle once, by the middle of their last measurements. (What rank 0 decides: move_policy_test.cpp.)
#include "balance/policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/philox.h"

namespace lepton::balance {
namespace {

NodePlan plan_of(int64_t units, int threads, double unit_s) {
  const auto turns = static_cast<double>((units + threads - 1) / threads);
  return {units, threads, 0, unit_s, turns * unit_s};
}

NodePolicy begun(const NodePlan& plan) {
  NodePolicy policy;
  policy.begin(plan);
  return policy;
}

/// One thread that has done `done` of `units`, each in `unit_s`, and begun the next one.
Progress one_thread(int64_t units, int64_t done, double unit_s) {
  const int64_t started = std::min(units, done + 1);
  return {started, done, units - started, 0, static_cast<double>(done) * unit_s};
}

/// At which unit's end a node of one thread first reports, whose units take `unit_s`; 0: never.
int64_t first_report(const NodePlan& plan, double unit_s) {
  NodePolicy policy = begun(plan);
  for (int64_t done = 1; done <= plan.units; ++done)
    if (policy.look(static_cast<double>(done) * unit_s, one_thread(plan.units, done, unit_s))) return done;
  return 0;
}

TEST(NodePolicy, OnItsPlanItNeverReports) {
  uint64_t random = 1;
  for (int trial = 0; trial < 300; ++trial) {
    const int threads = 1 + static_cast<int>((random = mix64(random)) % 5);
    const auto units = static_cast<int64_t>((random = mix64(random)) % 60);
    const double unit_s = 0.001 * static_cast<double>(1 + (random = mix64(random)) % 500);
    NodePolicy policy = begun(plan_of(units, threads, unit_s));
    Progress at{std::min<int64_t>(threads, units), 0, std::max<int64_t>(0, units - threads), 0, 0};
    for (int turn = 1; at.done < units; ++turn)
      for (int t = 0; t < threads && at.done < units; ++t) {  // one thread after the other, at about a time
        ++at.done;
        at.busy_s += unit_s;
        if (at.left > 0) {
          ++at.started;
          --at.left;
        }
        ASSERT_FALSE(policy.look((turn + 1e-3 * t) * unit_s, at)) << units << " on " << threads;
      }
  }
}

TEST(NodePolicy, NoiseThatDoesNotAddUpIsNotReported) {
  uint64_t random = 2;
  for (int trial = 0; trial < 200; ++trial) {
    NodePolicy policy = begun(plan_of(8, 1, 1));
    double now_s = 0;
    for (int64_t done = 1; done <= 8; ++done) {
      now_s += 0.95 + 0.1 * static_cast<double>((random = mix64(random)) % 1000) / 1000;
      Progress at = one_thread(8, done, 0);
      at.busy_s = now_s;
      ASSERT_FALSE(policy.look(now_s, at));
    }
  }
}

TEST(NodePolicy, ReportsOnceItIsMoreThanAUnitLate) {
  const NodePlan plan = plan_of(10, 1, 1);
  EXPECT_EQ(first_report(plan, 2), 2);    // 11 s are expected after the first: a unit late, and no more
  EXPECT_EQ(first_report(plan, 2.1), 1);  // 11.1 s
  EXPECT_EQ(first_report(plan, 1.05), 0);
  NodePolicy policy = begun(plan);
  EXPECT_FALSE(policy.look(2, one_thread(10, 1, 2)));
  const std::optional<Report> report = policy.look(4, one_thread(10, 2, 2));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->at_s, 4);
  EXPECT_EQ(report->left, 7);
  EXPECT_EQ(report->end_s, 4 + 8 * 2);  // what is left, and the one just begun
  EXPECT_EQ(report->unit_s, 2);
  EXPECT_EQ(report->gives_seen, 0);
  EXPECT_EQ(report->taken, 0);
  EXPECT_TRUE(report->missing.empty());
}

TEST(NodePolicy, ReportsOnceItIsMoreThanAUnitEarly) {
  const NodePlan plan = plan_of(10, 1, 1);
  EXPECT_EQ(first_report(plan, 0.5), 2);
  EXPECT_EQ(first_report(plan, 0.95), 0);  // not even at the end
  NodePolicy policy = begun(plan);
  EXPECT_FALSE(policy.look(0.5, one_thread(10, 1, 0.5)));
  const std::optional<Report> report = policy.look(1, one_thread(10, 2, 0.5));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->end_s, 1 + 8 * 0.5);
}

TEST(NodePolicy, WhatItReportedIsWhatRank0Believes) {
  NodePolicy policy = begun(plan_of(10, 1, 1));
  ASSERT_FALSE(policy.look(2, one_thread(10, 1, 2)));
  ASSERT_TRUE(policy.look(4, one_thread(10, 2, 2)));
  for (int64_t done = 3; done <= 10; ++done)
    EXPECT_FALSE(policy.look(2.0 * static_cast<double>(done), one_thread(10, done, 2)));
}

TEST(NodePolicy, LateWithNothingLeftIsNotReported) {
  NodePolicy policy = begun(plan_of(4, 2, 1));
  EXPECT_FALSE(policy.look(50, {4, 3, 0, 0, 50}));
  EXPECT_FALSE(policy.look(90, {4, 3, 0, 1, 50}));  // coming is not left: it cannot be given
  EXPECT_TRUE(policy.look(90, {4, 3, 1, 0, 50}));
}

TEST(NodePolicy, WhatIsComingCountsAsWork) {
  for (const int64_t coming : {5, 0}) {
    NodePolicy policy = begun(plan_of(10, 1, 1));
    policy.report(0, {1, 0, 9, 0, 0});
    policy.took(5, 15);
    // Without them it would end at 10, and early.
    EXPECT_EQ(policy.look(5, {6, 5, 4, coming, 5}).has_value(), coming == 0);
  }
}

/// The estimate after units that took so long.
double estimate(const NodePlan& plan, const std::vector<double>& units_s) {
  NodePolicy policy = begun(plan);
  Progress at;
  for (const double unit_s : units_s) {
    ++at.done;
    at.started = at.done + 1;
    at.busy_s += unit_s;
    policy.look(at.busy_s, at);
  }
  return policy.report(at.busy_s, at).unit_s;
}

TEST(NodePolicy, OneOutlierDoesNotChangeTheEstimateTwoDo) {
  const NodePlan plan = plan_of(16, 1, 1);
  EXPECT_EQ(estimate(plan, {}), 1);
  EXPECT_EQ(estimate(plan, {10}), 1);
  EXPECT_EQ(estimate(plan, {0.25}), 1);
  EXPECT_EQ(estimate(plan, {10, 10}), 10);
  EXPECT_EQ(estimate(plan, {1, 1, 1, 10}), 1);
  EXPECT_EQ(estimate(plan, {1, 1, 1, 10, 1}), 1);
  EXPECT_EQ(estimate(plan, {1, 1, 1, 10, 1, 10}), 1);
}

TEST(NodePolicy, WithoutAPlanTheFirstMeasurementStandsIn) {
  const NodePlan plan = plan_of(16, 1, 0);
  EXPECT_EQ(estimate(plan, {}), 0);
  EXPECT_EQ(estimate(plan, {4}), 4);
  EXPECT_DOUBLE_EQ(estimate(plan, {4, 4.4}), 4.2);
  EXPECT_DOUBLE_EQ(estimate(plan, {4, 4.4, 4.3}), 4.3);
  EXPECT_DOUBLE_EQ(estimate(plan, {4, 8, 6}), 6);
}

TEST(NodePolicy, AMeasurementIsASixteenthOfThePlanOrItsTime) {
  const NodePlan plan = plan_of(64, 1, 1);
  EXPECT_EQ(estimate(plan, {2, 2}), 1);  // the time of four, but one measurement
  EXPECT_EQ(estimate(plan, {2, 2, 2, 2}), 2);
  EXPECT_EQ(estimate(plan, {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5}), 1);
  EXPECT_EQ(estimate(plan, {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5}), 0.5);
  EXPECT_EQ(estimate(plan, {1, 3, 1, 3, 1, 3, 1, 3}), 2);
  EXPECT_EQ(estimate(plan_of(64, 1, 0), {3}), 3);  // where nothing was known the first unit counts
}

/// As long as much is left an imbalance must be larger than at the end.
TEST(NodePolicy, FarFromTheEndLessPrecisionIsDue) {
  for (const double ahead_s : {9.0, -9.0}) {
    NodePolicy policy = begun(plan_of(100, 1, 1));
    const int64_t done = 100 - 80;
    const double busy_s = static_cast<double>(done);
    const Progress far = {done + 1, done, 79, 0, busy_s}, near = {61, 60, 39, 0, 60};
    EXPECT_FALSE(policy.look(20 - ahead_s / 1.2, far)) << ahead_s;
    EXPECT_TRUE(policy.look(60 - ahead_s, near)) << ahead_s;
  }
}

/// Who looks in the middle of a unit reckons with what of it has passed.
TEST(NodePolicy, AUnitUnderWayIsReckonedFromItsBegin) {
  NodePolicy policy = begun(plan_of(10, 1, 4));
  policy.look(8, {3, 2, 7, 0, 8});
  EXPECT_DOUBLE_EQ(policy.report(9, {3, 2, 7, 0, 8}).end_s, 40);
  EXPECT_DOUBLE_EQ(policy.report(11, {3, 2, 7, 0, 8}).end_s, 40);
  EXPECT_DOUBLE_EQ(policy.report(14, {3, 2, 7, 0, 8}).end_s, 14 + 28);  // longer than was expected
  policy.look(20, {3, 3, 0, 0, 12});
  policy.look(30, {3, 3, 0, 0, 12});
  EXPECT_DOUBLE_EQ(policy.report(30, {4, 3, 0, 0, 12}).end_s, 34);  // began after an idle time
}

/// A report that crossed an order to this node tells rank 0 the end, but not that what then came is left
/// here.
TEST(NodePolicy, WhatCameUnawaresIsReportedIfItIsLate) {
  const Progress at = {4, 3, 10, 0, 3};  // ends at 14
  NodePolicy policy = begun(plan_of(10, 1, 1));
  policy.took(5, 8);
  policy.gave(14);
  ASSERT_TRUE(policy.look(3, at));
  policy.took(5, 8);
  policy.gave(14);
  const std::optional<Report> report = policy.look(3, at);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->left, 10);
  policy.gave(14);
  EXPECT_FALSE(policy.look(3, at));  // rank 0 knows by now
  policy.took(5, 14);
  policy.gave(14);
  EXPECT_FALSE(policy.look(3, at));
}

TEST(NodePolicy, SeveralUnitsDoneAtOnceAreOneMeasurement) {
  NodePolicy policy = begun(plan_of(100, 4, 1));
  policy.look(2, {12, 8, 88, 0, 16});  // 8 units of 2 s
  EXPECT_EQ(policy.report(2, {12, 8, 88, 0, 16}).unit_s, 1);
  policy.look(4, {20, 16, 80, 0, 32});
  EXPECT_EQ(policy.report(4, {20, 16, 80, 0, 32}).unit_s, 2);
  policy.look(5, {20, 16, 80, 0, 32});  // nothing was done meanwhile: no measurement
  policy.look(6, {20, 16, 80, 0, 32});
  EXPECT_EQ(policy.report(6, {20, 16, 80, 0, 32}).unit_s, 2);
}

TEST(NodePolicy, ThreadsShareWhatIsLeft) {
  NodePolicy policy = begun(plan_of(20, 4, 1));
  // 9 left are three turns; of four under way three are half done, one has just begun.
  EXPECT_DOUBLE_EQ(policy.report(2, {8, 4, 9, 0, 0}).end_s, 2 + 3 + 1 * 0.625);
  EXPECT_DOUBLE_EQ(policy.report(2, {8, 4, 8, 1, 0}).end_s, 2 + 3 + 1 * 0.625);
  EXPECT_DOUBLE_EQ(policy.report(2, {8, 8, 0, 0, 0}).end_s, 2);
}

TEST(NodePolicy, WhoWasNeverMeasuredReportsItsFirstUnit) {
  NodePolicy policy = begun(plan_of(10, 1, 0));
  EXPECT_FALSE(policy.look(1, {1, 0, 9, 0, 0}));  // nothing to say yet
  const std::optional<Report> report = policy.look(3, one_thread(10, 1, 3));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->unit_s, 3);
  EXPECT_EQ(report->end_s, 3 + 9 * 3);
  EXPECT_FALSE(policy.look(6, one_thread(10, 2, 3)));
}

constexpr Progress idle_after_four = {4, 4, 0, 0, 4};

TEST(NodePolicy, IdleForMoreThanAUnitItReportsOnce) {
  NodePolicy policy = begun(plan_of(4, 1, 1));
  EXPECT_FALSE(policy.look(4, idle_after_four));
  EXPECT_FALSE(policy.look(5, idle_after_four));
  const std::optional<Report> report = policy.look(5.1, idle_after_four);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->end_s, 5.1);
  EXPECT_EQ(report->left, 0);
  for (const double now_s : {5.2, 7.0, 100.0}) EXPECT_FALSE(policy.look(now_s, idle_after_four));
}

TEST(NodePolicy, WithoutUnitsItReportsThatItIsIdle) {
  for (const double unit_s : {0.0, 1.0}) {
    NodePolicy policy = begun(plan_of(0, 1, unit_s));
    const double patience_s = unit_s > 0 ? unit_s : worth_s;
    EXPECT_FALSE(policy.look(0, {}));
    EXPECT_FALSE(policy.look(patience_s, {}));
    EXPECT_TRUE(policy.look(1.01 * patience_s, {}));
    EXPECT_FALSE(policy.look(10 * patience_s, {}));
  }
}

TEST(NodePolicy, TinyUnitsAreNotWorthAMessage) {
  NodePolicy policy = begun(plan_of(4, 1, 1e-6));
  EXPECT_FALSE(policy.look(4e-6, {4, 4, 0, 0, 4e-6}));
  EXPECT_FALSE(policy.look(4e-6 + worth_s * 0.99, {4, 4, 0, 0, 4e-6}));
  EXPECT_TRUE(policy.look(4e-6 + worth_s * 1.01, {4, 4, 0, 0, 4e-6}));
  NodePolicy late = begun(plan_of(40, 1, 1e-6));
  EXPECT_FALSE(late.look(2e-6 + worth_s / 2, {4, 3, 36, 0, 3e-6}));
  EXPECT_TRUE(late.look(worth_s * 1.1, {4, 3, 36, 0, 3e-6}));
}

TEST(NodePolicy, WhoSaidWhenItWouldBeIdleNeedsNotSaySoThen) {
  NodePolicy policy = begun(plan_of(10, 1, 1));
  ASSERT_FALSE(policy.look(0.5, one_thread(10, 1, 0.5)));
  ASSERT_TRUE(policy.look(1, one_thread(10, 2, 0.5)));  // ends at 5
  for (const double now_s : {5.0, 5.6, 6.0, 50.0}) EXPECT_FALSE(policy.look(now_s, {10, 10, 0, 0, 5}));
}

TEST(NodePolicy, WhoIsIdleLongBeforeItSaidReportsAgain) {
  NodePolicy policy = begun(plan_of(10, 1, 1));
  ASSERT_TRUE(policy.look(5, one_thread(10, 1, 5)));  // 14
  EXPECT_FALSE(policy.look(10, {10, 10, 0, 0, 10}));
  EXPECT_TRUE(policy.look(11.1, {10, 10, 0, 0, 10}));
  EXPECT_FALSE(policy.look(12.2, {10, 10, 0, 0, 10}));
}

TEST(NodePolicy, GivenAndTakenUnitsMoveWhatIsExpectedAndAreCounted) {
  NodePolicy policy = begun(plan_of(10, 1, 1));
  policy.gave(6);
  EXPECT_FALSE(policy.look(3, {4, 3, 2, 0, 3}));  // ends at 6
  policy.took(3, 9);
  const std::optional<Report> alive = policy.look(3, {4, 3, 2, 3, 3});
  ASSERT_TRUE(alive);  // rank 0 gave them to one who had said nothing yet
  EXPECT_DOUBLE_EQ(alive->end_s, 9);
  EXPECT_FALSE(policy.look(3, {4, 3, 2, 3, 3}));
  policy.took(2, 11);
  policy.gave(10);
  const Report report = policy.report(3, {4, 3, 1, 5, 3});
  EXPECT_EQ(report.gives_seen, 2);
  EXPECT_EQ(report.taken, 5);
  EXPECT_EQ(report.left, 1);  // what is coming cannot be given
  policy.gave(0);
  EXPECT_TRUE(policy.look(3, {4, 3, 2, 0, 3}));  // much later than rank 0 believes
}

/// Rank 0 asks nobody for units that it does not know to be there.
TEST(NodePolicy, WhatWasOnItsWayWhenItReportedIsReportedOnceItIsHere) {
  NodePolicy policy = begun(plan_of(10, 1, 1));
  policy.took(4, 14);
  ASSERT_TRUE(policy.look(9, {10, 9, 0, 4, 9}));
  EXPECT_FALSE(policy.look(9.5, {10, 9, 0, 4, 9}));
  const std::optional<Report> report = policy.look(9.6, {10, 9, 4, 0, 9});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->left, 4);
  EXPECT_FALSE(policy.look(10, {11, 10, 3, 0, 10}));
  policy.took(1, 15);
  policy.report(13, {14, 13, 0, 1, 13});
  EXPECT_FALSE(policy.look(13, {14, 13, 1, 0, 13}));  // a single unit, about to be started
}

TEST(NodePolicy, UnitsThatCameEndAnIdleness) {
  NodePolicy policy = begun(plan_of(4, 1, 1));
  policy.look(4, idle_after_four);
  ASSERT_TRUE(policy.look(5.1, idle_after_four));
  policy.took(1, 6.5);
  EXPECT_FALSE(policy.look(5.5, {4, 4, 0, 1, 4}));
  EXPECT_FALSE(policy.look(6.5, {5, 5, 0, 0, 5}));  // as expected
  EXPECT_FALSE(policy.look(20, {5, 5, 0, 0, 5}));
  policy.took(1, 30);
  EXPECT_TRUE(policy.look(21, {5, 5, 0, 1, 5}));  // rank 0 believes 30, and hears of 22
  EXPECT_FALSE(policy.look(22, {6, 6, 0, 0, 6}));
}

TEST(NodePolicy, WhoTakesUnitsInSilenceSaysOnceThatItIsAlive) {
  NodePolicy policy = begun(plan_of(4, 1, 1));
  EXPECT_FALSE(policy.look(4, idle_after_four));
  policy.took(1, 5.5);
  EXPECT_TRUE(policy.look(4.5, {4, 4, 0, 1, 4}));
  EXPECT_FALSE(policy.look(5.5, {5, 5, 0, 0, 5}));
  EXPECT_FALSE(policy.look(6.6, {5, 5, 0, 0, 5}));  // idle, as it has said
}

TEST(NodePolicy, EndsWhenWhatIsLeftIsNotWorthAMessage) {
  constexpr double unit_s = 0.3 * worth_s;
  NodePolicy policy = begun(plan_of(40, 2, unit_s));
  EXPECT_FALSE(policy.ends({33, 31, 7}));  // four turns of two threads
  EXPECT_TRUE(policy.ends({34, 32, 6}));
  EXPECT_TRUE(policy.ends({40, 38, 0}));
  EXPECT_FALSE(policy.ends({34, 32, 5, 2}));  // what is on its way is to come
  policy.look(100, {20, 18, 20, 0, 36 * unit_s});
  ASSERT_TRUE(policy.late());
  EXPECT_FALSE(policy.ends({34, 32, 6}));  // it may hardly move
  EXPECT_TRUE(policy.ends({40, 38, 0}));
  NodePolicy unknown = begun(plan_of(4, 2, 0));
  EXPECT_FALSE(unknown.ends({2, 0, 2}));
}

TEST(NodePolicy, ARoundBeginsAnew) {
  NodePolicy policy = begun(plan_of(10, 1, 1));
  policy.gave(6);
  policy.took(3, 9);
  policy.look(50, {8, 7, 2, 0, 50});
  policy.begin(plan_of(10, 1, 1));
  const Report report = policy.report(0, {});
  EXPECT_EQ(report.gives_seen, 0);
  EXPECT_EQ(report.taken, 0);
  EXPECT_EQ(report.unit_s, 1);
  policy.begin(plan_of(4, 1, 1));
  policy.look(4, idle_after_four);
  EXPECT_TRUE(policy.look(5.1, idle_after_four));  // the report of the last round is forgotten
}

}  // namespace
}  // namespace lepton::balance
