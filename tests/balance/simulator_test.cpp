// SPDX-License-Identifier: Apache-2.0
// Simulated rounds: the same calls give the same rounds; one node, more nodes than units; a slow node's units
// are taken over, which pays; and the figures of a round add up. (Thousands of drawn jobs: tests/sim.)
#include "balance/simulator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/philox.h"

namespace lepton::balance {
namespace {

constexpr Stamp stamp{1, 0, 1, 1};

/// Nodes that each begin with `units_each`, planned to take `planned_s` a unit, and take `real_s`.
struct Job {
  std::vector<int> threads;
  std::vector<double> real_s;
  int64_t units_each = 10;
  double planned_s = 1;
  SimulatedNetwork network;

  int64_t units() const { return units_each * std::ssize(threads); }
  UnitTime unit_time() const {
    return [this](int node, int, int64_t, double) { return real_s[static_cast<size_t>(node)]; };
  }
  std::vector<NodePlan> plans() const {
    std::vector<NodePlan> all;
    for (const int of_node : threads)
      all.push_back({units_each, of_node, 0, planned_s,
                     std::ceil(static_cast<double>(units_each) / of_node) * planned_s});
    return all;
  }
  std::vector<UnitRange> ranges() const {
    std::vector<UnitRange> all;
    for (int64_t n = 0; n < std::ssize(threads); ++n) all.push_back({n * units_each, (n + 1) * units_each});
    return all;
  }
  RoundResult run(bool steal) const {
    Simulator simulator(threads, units(), network);
    return simulator.round(stamp, plans(), ranges(), steal, unit_time());
  }
};

Job even(size_t nodes) {
  return {std::vector<int>(nodes, 1), std::vector<double>(nodes, 1), 10, 1, {}};
}

template <class T>
T sum(const std::vector<T>& values) {
  return std::accumulate(values.begin(), values.end(), T{});
}

void expect_equal(const RoundResult& a, const RoundResult& b) {
  EXPECT_EQ(a.units_s, b.units_s);
  EXPECT_EQ(a.closed_s, b.closed_s);
  EXPECT_EQ(a.units, b.units);
  EXPECT_EQ(a.busy_ns, b.busy_ns);
  EXPECT_EQ(a.messages, b.messages);
  EXPECT_EQ(a.rank_0_messages, b.rank_0_messages);
  EXPECT_EQ(a.rank_0_busy_s, b.rank_0_busy_s);
  for (size_t n = 0; n < a.moved.size(); ++n) {
    EXPECT_EQ(a.moved[n].given, b.moved[n].given);
    EXPECT_EQ(a.moved[n].taken, b.moved[n].taken);
  }
}

/// Whatever the job: each unit is done once, what is given is taken, times fit.
void expect_consistent(const Job& job, const RoundResult& result) {
  EXPECT_EQ(sum(result.units), job.units());
  int64_t given = 0, taken = 0;
  for (size_t n = 0; n < job.threads.size(); ++n) {
    const Moved& moved = result.moved[n];
    given += moved.given;
    taken += moved.taken;
    EXPECT_EQ(result.units[n], job.units_each + moved.taken - moved.given) << n;
    const double busy_s = static_cast<double>(result.busy_ns[n]) * 1e-9;
    EXPECT_LE(busy_s, result.units_s * job.threads[n] + 1e-6);
    const auto handled = static_cast<double>(result.messages + 1) * 2 * job.network.handling_s;
    EXPECT_NEAR(busy_s, static_cast<double>(result.units[n]) * job.real_s[n], handled + 1e-6) << n;
  }
  EXPECT_EQ(given, taken);
  EXPECT_GE(result.closed_s, result.units_s);
  EXPECT_LE(result.rank_0_messages, result.messages);
  EXPECT_NEAR(result.rank_0_busy_s, static_cast<double>(result.rank_0_messages) * job.network.handling_s,
              1e-12);
}

TEST(Simulator, ABalancedRoundCostsNothing) {
  const RoundResult result = even(4).run(true);
  expect_consistent(even(4), result);
  EXPECT_DOUBLE_EQ(result.units_s, 10);
  EXPECT_EQ(result.messages, 0);
  EXPECT_EQ(result.moved[2].taken, 0);
}

TEST(Simulator, OneNodeDoesItAll) {
  for (const bool steal : {false, true}) {
    const Job job{{3}, {1}, 10, 1, {}};
    const RoundResult result = job.run(steal);
    expect_consistent(job, result);
    EXPECT_DOUBLE_EQ(result.units_s, 4);
    EXPECT_EQ(result.messages, 0);
  }
}

TEST(Simulator, ASlowNodesUnitsAreTakenOver) {
  Job job = even(4);
  job.real_s[2] = 8;
  const RoundResult alone = job.run(false), stolen = job.run(true);
  expect_consistent(job, alone);
  expect_consistent(job, stolen);
  EXPECT_DOUBLE_EQ(alone.units_s, 80);
  EXPECT_EQ(alone.units, (std::vector<int64_t>{10, 10, 10, 10}));
  EXPECT_EQ(alone.messages, 0);
  EXPECT_LT(stolen.units_s, 26);  // two of its units until it is believed, and the one then begun
  EXPECT_LE(stolen.units[2], 3);
  EXPECT_EQ(stolen.moved[2].given, 10 - stolen.units[2]);
  EXPECT_GT(stolen.messages, 0);
}

/// It hears of itself at once: it must not take longer to help itself than to help another.
TEST(Simulator, RankZeroMayBeTheSlowOne) {
  for (const double slow_s : {6, 8, 20})
    for (const int64_t units_each : {4, 10, 25}) {
      Job first = even(7), last = even(7);
      first.units_each = last.units_each = units_each;
      first.real_s[0] = last.real_s[6] = slow_s;
      const RoundResult helped = first.run(true), other = last.run(true);
      expect_consistent(first, helped);
      EXPECT_LE(helped.units_s, other.units_s + 1e-3) << slow_s << " s, " << units_each << " units";
      EXPECT_GE(helped.moved[0].given, other.moved[6].given);
    }
}

TEST(Simulator, MoreNodesThanUnits) {
  for (const bool steal : {false, true}) {
    Simulator simulator({1, 1, 1, 1, 1}, 2, {});
    const std::vector<NodePlan> plans = {
        {1, 1, 0, 1, 1}, {0, 1, 0, 1, 0}, {0, 1, 0, 1, 0}, {1, 1, 0, 1, 1}, {0, 1, 0, 1, 0}};
    const std::vector<UnitRange> ranges = {{0, 1}, {1, 1}, {1, 1}, {1, 2}, {2, 2}};
    const RoundResult& result =
        simulator.round(stamp, plans, ranges, steal, [](int, int, int64_t, double) { return 1.0; });
    EXPECT_EQ(result.units, (std::vector<int64_t>{1, 0, 0, 1, 0}));
    EXPECT_DOUBLE_EQ(result.units_s, 1);
  }
  Simulator nothing({1, 2}, 0, {});
  EXPECT_EQ(
      nothing
          .round(stamp, std::vector<NodePlan>{{0, 1, 0, 1, 0}, {0, 2, 0, 1, 0}},
                 std::vector<UnitRange>{{0, 0}, {0, 0}}, true, [](int, int, int64_t, double) { return 1.0; })
          .units_s,
      0);
}

TEST(Simulator, RoundsFollowEachOtherWithoutATrace) {
  Job job = even(3);
  job.real_s[1] = 5;
  Simulator simulator(job.threads, job.units(), job.network);
  const RoundResult first = simulator.round(stamp, job.plans(), job.ranges(), true, job.unit_time());
  for (int64_t round = 2; round < 5; ++round)
    expect_equal(first, simulator.round({round, 0, 1, 1}, job.plans(), job.ranges(), true, job.unit_time()));
  expect_equal(first, job.run(true));
}

TEST(Simulator, SlowMessagesCostTime) {
  Job quick = even(4), slow = even(4);
  quick.real_s[2] = slow.real_s[2] = 8;
  slow.network.latency_s = 1;
  EXPECT_LT(quick.run(true).units_s, slow.run(true).units_s);
  Job rows = quick;
  rows.network.row_s_per_unit = 1.5;
  EXPECT_LT(quick.run(true).units_s, rows.run(true).units_s);
  Job late = quick;
  late.network.delay_s = [] { return 1.0; };
  EXPECT_LT(quick.run(true).units_s, late.run(true).units_s);
  Job busy = quick;
  busy.network.handling_s = 0.1;
  const RoundResult handled = busy.run(true);
  expect_consistent(busy, handled);
  EXPECT_GT(handled.rank_0_busy_s, 0.09);
}

/// A computing main thread answers at its unit's end, or sooner where it looks sooner.
TEST(Simulator, LooksWithinAUnitShortenTheWait) {
  Job job = even(2);
  job.real_s = {1, 8};
  const auto units_s = [&](const LookTime& look_time) {
    Simulator simulator(job.threads, job.units(), job.network);
    return simulator.round(stamp, job.plans(), job.ranges(), true, job.unit_time(), look_time).units_s;
  };
  const double at_the_end = units_s({}), within = units_s([](int) { return 0.25; });
  EXPECT_DOUBLE_EQ(units_s([](int) { return std::numeric_limits<double>::infinity(); }), at_the_end);
  EXPECT_LT(within, at_the_end);
}

TEST(Simulator, WhoWatchesSeesEveryUnitStartOnce) {
  Job job = even(3);
  job.real_s[1] = 5;
  job.network.latency_s = 0.01;
  Simulator simulator(job.threads, job.units(), job.network);
  double last_s = 0;
  int64_t events = 0, travelled = 0;
  bool idle_seen = false, untouched_seen = false;
  simulator.watch([&](double now_s) {
    EXPECT_GE(now_s, last_s);
    last_s = now_s;
    ++events;
    travelled = std::max(travelled, simulator.travelling());
    for (int node = 0; node < simulator.nodes(); ++node) {
      idle_seen |= simulator.idle(node);
      untouched_seen |= simulator.untouched(node) > 0;
      if (simulator.closed(node)) {
        EXPECT_EQ(simulator.untouched(node), 0);
      }
    }
    for (int64_t unit = 0; unit < job.units(); ++unit) EXPECT_LE(simulator.starts(unit), 1);
  });
  const RoundResult result = simulator.round(stamp, job.plans(), job.ranges(), true, job.unit_time());
  EXPECT_EQ(simulator.nodes(), 3);
  EXPECT_GE(events, job.units());
  EXPECT_GT(travelled, 0);
  EXPECT_TRUE(idle_seen && untouched_seen);
  EXPECT_EQ(simulator.travelling(), 0);
  EXPECT_GE(last_s, result.closed_s);
  for (int64_t unit = 0; unit < job.units(); ++unit) EXPECT_EQ(simulator.starts(unit), 1);
  for (int node = 0; node < 3; ++node) EXPECT_TRUE(simulator.closed(node) && simulator.idle(node));
}

TEST(Simulator, DrawnJobsAreDeterministicAndConsistent) {
  uint64_t random = 9;
  double won = 0;
  for (int trial = 0; trial < 200; ++trial) {
    Job job;
    job.units_each = 1 + static_cast<int64_t>((random = mix64(random)) % 20);
    for (uint64_t n = 1 + (random = mix64(random)) % 6; n > 0; --n) {
      job.threads.push_back(1 + static_cast<int>((random = mix64(random)) % 3));
      job.real_s.push_back((random = mix64(random)) % 3 ? 1.0 : 0.5 * static_cast<double>(1 + random % 17));
    }
    const RoundResult stolen = job.run(true), alone = job.run(false);
    expect_consistent(job, stolen);
    expect_consistent(job, alone);
    expect_equal(stolen, job.run(true));
    won += std::log(stolen.units_s / alone.units_s);
  }
  EXPECT_LT(std::exp(won / 200), 0.85);
}

TEST(Simulator, ARoundThatNeverEndsIsABug) {
  const Job job = even(2);
  Simulator simulator(job.threads, job.units(), job.network);
  EXPECT_THROW(
      simulator.round(stamp, job.plans(), job.ranges(), true, [](int, int, int64_t, double) { return 1e12; }),
      Error);
  Simulator short_of_plans(job.threads, job.units(), job.network);
  EXPECT_THROW(short_of_plans.round(stamp, {}, job.ranges(), true, job.unit_time()), Error);
}

}  // namespace
}  // namespace lepton::balance
