// SPDX-License-Identifier: Apache-2.0
// Sums over rounds: of the run, and since somebody asked; what was given follows from plan, done and taken.
#include "train/work_record.h"

#include <gtest/gtest.h>

#include <vector>

namespace lepton::train {
namespace {

using Counts = std::vector<int64_t>;

balance::RoundPlan plan_of(const Counts& units) {
  balance::RoundPlan plan;
  int64_t begin = 0;
  for (const int64_t count : units) {
    plan.ranges.push_back({begin, begin + count});
    begin += count;
  }
  return plan;
}

struct Did {
  Counts units, taken, busy_ms;
  int64_t units_ms = 0;
};

exact::Lanes lanes_of(const Did& did) {
  exact::Lanes lanes(1, static_cast<int>(did.units.size()), 0, 0);
  for (size_t n = 0; n < did.units.size(); ++n) {
    const int node = static_cast<int>(n);
    lanes.node_units(node) += did.units[n];
    lanes.node_taken(node) += did.taken[n];
    lanes.node_busy_ns(node) += did.busy_ms[n] * 1'000'000;
  }
  lanes.raise_units_ns(did.units_ms * 1'000'000);
  return lanes;
}

/// Rounds of so many seconds, one behind the other; the lanes are there after half of it.
struct Rounds {
  explicit Rounds(const std::vector<int>& threads) : record(threads) {}
  void add(double step_s, const Counts& planned, const Did& did, const std::vector<double>& speeds) {
    int64_t units = 0;
    for (const int64_t of_node : planned) units += of_node;
    exact::Lanes lanes = lanes_of(did);
    record.begin(units, now_s);
    record.end(plan_of(planned), lanes, speeds, now_s + step_s / 2);
    now_s += step_s;
  }
  WorkRecord record;
  double now_s = 0;
};

const Did moved = {{8, 5, 2}, {3, 0, 1}, {40, 50, 60}, 50};    // of 5, 5, 5: the last gave 4
const Did planned = {{5, 5, 5}, {0, 0, 0}, {20, 30, 40}, 30};  // as planned

TEST(WorkRecord, CountsWhatEachNodeWasPlannedDidTookAndGave) {
  Rounds rounds({1, 2, 1});
  const WorkRecord& record = rounds.record;
  EXPECT_EQ(record.rounds(), 0);
  rounds.add(0.1, {5, 5, 5}, moved, {3, 2, 1});
  rounds.add(0.2, {5, 5, 5}, planned, {6, 4, 2});
  EXPECT_EQ(record.rounds(), 2);
  const std::vector<report::NodeWork>& totals = record.totals();
  ASSERT_EQ(totals.size(), 3u);
  const Counts done = {13, 10, 7}, taken = {3, 0, 1}, given = {0, 0, 4};
  for (size_t n = 0; n < 3; ++n) {
    EXPECT_EQ(totals[n].planned, 10) << n;
    EXPECT_EQ(totals[n].done, done[n]) << n;
    EXPECT_EQ(totals[n].taken, taken[n]) << n;
    EXPECT_EQ(totals[n].given, given[n]) << n;
    EXPECT_EQ(totals[n].threads, n == 1 ? 2 : 1);
    EXPECT_EQ(totals[n].units_per_s, 6.0 - 2.0 * static_cast<double>(n));  // the latest
  }
  EXPECT_DOUBLE_EQ(totals[0].busy_s, 0.06);
  EXPECT_DOUBLE_EQ(totals[0].wait_s, 0.01 + 0.01);
  EXPECT_DOUBLE_EQ(totals[1].wait_s, (0.1 - 0.05) + (0.06 - 0.03));  // of two threads
  EXPECT_DOUBLE_EQ(totals[2].wait_s, 0);                             // never less than nothing
}

TEST(WorkRecord, FiguresAreMeansSinceTheLastTime) {
  Rounds rounds({1, 2, 1});
  WorkRecord& record = rounds.record;
  rounds.add(0.1, {5, 5, 5}, moved, {3, 2, 1});
  rounds.add(0.2, {4, 4, 1}, planned, {6, 4, 2});
  record.begin(15, rounds.now_s);
  const report::BalanceFigures both = record.take_figures();
  EXPECT_NEAR(both.step_s, 0.15, 1e-12);
  EXPECT_DOUBLE_EQ(both.units_s, 0.04);
  EXPECT_DOUBLE_EQ(both.units_per_step, 12);
  ASSERT_EQ(both.nodes.size(), 3u);
  EXPECT_EQ(both.nodes[0].planned, 9);
  EXPECT_EQ(both.nodes[0].done, 13);
  EXPECT_EQ(both.nodes[0].units_per_s, 6);
  rounds.add(0.4, {5, 5, 5}, planned, {6, 4, 2});
  rounds.record.begin(15, rounds.now_s);
  const report::BalanceFigures one = record.take_figures();
  EXPECT_NEAR(one.step_s, 0.4, 1e-12);
  EXPECT_DOUBLE_EQ(one.units_s, 0.03);
  EXPECT_DOUBLE_EQ(one.units_per_step, 15);
  EXPECT_EQ(one.nodes[0].planned, 5);
  EXPECT_EQ(one.nodes[0].taken, 0);
  EXPECT_EQ(one.nodes[1].threads, 2);
  EXPECT_EQ(record.totals()[0].planned, 14);  // the run goes on
  EXPECT_EQ(record.rounds(), 3);
}

/// How long a step takes is known when the next round begins, which may be an evaluation; of the last one,
/// when its lanes are there.
TEST(WorkRecord, AStepLastsUntilTheNextRoundBegins) {
  Rounds rounds({1});
  rounds.add(1, {5}, {{5}, {0}, {9}, 9}, {1});
  EXPECT_DOUBLE_EQ(rounds.record.take_figures().step_s, 0.5);
  rounds.add(2, {5}, {{5}, {0}, {9}, 9}, {1});
  EXPECT_DOUBLE_EQ(rounds.record.take_figures().step_s, 1);  // that of the first, which has ended by now
  rounds.record.begin(40, rounds.now_s);                     // an evaluation
  rounds.now_s += 100;
  rounds.add(3, {5}, {{5}, {0}, {9}, 9}, {1});
  EXPECT_DOUBLE_EQ(rounds.record.take_figures().step_s, 2);
}

TEST(WorkRecord, WhereNothingHappenedAllIsZero) {
  Rounds rounds({3});
  WorkRecord& record = rounds.record;
  const auto expect_nothing = [&] {
    const report::BalanceFigures figures = record.take_figures();
    EXPECT_EQ(figures.step_s, 0);
    EXPECT_EQ(figures.units_s, 0);
    EXPECT_EQ(figures.units_per_step, 0);
    ASSERT_EQ(figures.nodes.size(), 1u);
    EXPECT_EQ(figures.nodes[0].done, 0);
    EXPECT_EQ(figures.nodes[0].threads, 3);
  };
  expect_nothing();
  rounds.add(1, {5}, {{5}, {0}, {9}, 9}, {1});
  record.take_figures();
  record.begin(40, 7);  // begun, and dropped: an evaluation, or an attempt that was not finished
  expect_nothing();
}

}  // namespace
}  // namespace lepton::train
