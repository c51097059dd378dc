// SPDX-License-Identifier: Apache-2.0
// UnitPlanner: every unit on one node, the earliest end that whole units allow and of such plans the most
// proportional one, both compared with all plans there are; probed nodes; a thousand nodes. ClassPlan with
// Speeds, rounds long: plans stay put under noise, changes are followed, slow nodes come back.
#include "balance/plan.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "base/philox.h"

namespace lepton::balance {
namespace {

using Counts = std::vector<int64_t>;
using Values = std::vector<double>;
using Threads = std::vector<int>;

Counts shares_of(const Counts& begins) {
  Counts shares;
  for (size_t n = 0; n + 1 < begins.size(); ++n) shares.push_back(begins[n + 1] - begins[n]);
  return shares;
}

Counts planned(int64_t units, const Values& speeds, Threads threads = {},
               const std::vector<uint8_t>& probed = {}) {
  threads.resize(speeds.size(), 1);
  UnitPlanner planner;
  Counts begins;
  planner.plan(units, speeds, threads, probed, begins);
  EXPECT_EQ(begins.front(), 0);
  EXPECT_EQ(begins.back(), units);
  return shares_of(begins);
}

double latest_end_s(const Counts& shares, const Values& speeds, const Threads& threads) {
  double end = 0;
  for (size_t n = 0; n < shares.size(); ++n) end = std::max(end, end_s(shares[n], speeds[n], threads[n]));
  return end;
}

/// How far from proportional, less a constant.
double unevenness(const Counts& shares, const Values& speeds) {
  double sum = 0;
  for (size_t n = 0; n < shares.size(); ++n) sum += static_cast<double>(shares[n] * shares[n]) / speeds[n];
  return sum;
}

void for_all_shares(int64_t units, size_t nodes, const std::function<void(const Counts&)>& visit) {
  Counts shares(nodes, 0);
  const std::function<void(size_t, int64_t)> place = [&](size_t node, int64_t left) {
    if (node + 1 == nodes) {
      shares[node] = left;
      visit(shares);
      return;
    }
    for (shares[node] = 0; shares[node] <= left; ++shares[node]) place(node + 1, left - shares[node]);
  };
  place(0, units);
}

TEST(EndOfUnits, EachThreadComputesOneUnitAtATime) {
  EXPECT_EQ(end_s(0, 8, 4), 0);
  EXPECT_EQ(end_s(1, 8, 4), 0.5);  // two units per second and thread
  EXPECT_EQ(end_s(4, 8, 4), 0.5);
  EXPECT_EQ(end_s(5, 8, 4), 1);
}

TEST(UnitPlanner, NoPlanEndsEarlierAndOfThoseAsEarlyNoneIsMoreEven) {
  uint64_t random = 1;
  const auto below = [&random](uint64_t limit) { return (random = mix64(random)) % limit; };
  for (int trial = 0; trial < 3000; ++trial) {
    const size_t nodes = 1 + below(4);
    const auto units = static_cast<int64_t>(below(13));
    Values speeds(nodes);
    Threads threads(nodes);
    const bool coarse = below(2) == 0;  // many plans end alike
    for (size_t n = 0; n < nodes; ++n) {
      threads[n] = static_cast<int>(1 + below(4));
      speeds[n] = coarse ? threads[n] * static_cast<double>(1 + below(3))
                         : std::ldexp(static_cast<double>(1 + below(1000)), -9);
    }
    const Counts shares = planned(units, speeds, threads);
    const double end = latest_end_s(shares, speeds, threads);
    double best = end;
    for_all_shares(units, nodes,
                   [&](const Counts& other) { best = std::min(best, latest_end_s(other, speeds, threads)); });
    ASSERT_LE(end, best * (1 + 1e-8));
    for_all_shares(units, nodes, [&](const Counts& other) {
      if (latest_end_s(other, speeds, threads) > best) return;
      ASSERT_LE(unevenness(shares, speeds), unevenness(other, speeds) * (1 + 1e-8));
    });
  }
}

TEST(UnitPlanner, SharesOfKnownCases) {
  EXPECT_EQ(planned(10, {1, 1}), (Counts{5, 5}));
  EXPECT_EQ(planned(7, {1, 1, 1}), (Counts{3, 2, 2}));  // ties to the lower node
  EXPECT_EQ(planned(10, {2, 5, 3}), (Counts{2, 5, 3}));
  EXPECT_EQ(planned(7, {3, 1}), (Counts{5, 2}));    // quotas 5.25 and 1.75
  EXPECT_EQ(planned(5, {2.9, 1}), (Counts{4, 1}));  // quotas 3.7 and 1.3
  EXPECT_EQ(planned(6, {2.8, 1}), (Counts{5, 1}));  // quotas 4.4 and 1.6, but 4 and 2 end later
  EXPECT_EQ(planned(1, {1, 10}), (Counts{0, 1}));
  EXPECT_EQ(planned(0, {1, 2}), (Counts{0, 0}));
  EXPECT_EQ(planned(10, {10, 1, 1, 1, 1, 1, 1, 1, 1, 1}), (Counts{5, 1, 1, 1, 1, 1, 0, 0, 0, 0}));
}

TEST(UnitPlanner, ThreadsComputeWholeUnits) {
  EXPECT_EQ(planned(36, {4, 4}, {4, 4}), (Counts{18, 18}));  // as early as 20 and 16, and even
  EXPECT_EQ(planned(5, {4, 4}, {4, 4}), (Counts{3, 2}));
  // Quotas 4.9 and 3.1, but a fifth unit on four threads takes twice as long as four.
  EXPECT_EQ(planned(8, {8, 5}, {4, 1}), (Counts{4, 4}));
  // One unit on eight slow threads ends later than ten on the one fast thread.
  EXPECT_EQ(planned(10, {10, 4}, {1, 8}), (Counts{10, 0}));
  EXPECT_EQ(planned(21, {10, 4}, {1, 8}), (Counts{15, 6}));
}

TEST(UnitPlanner, OnlyRatiosCount) {
  for (const double factor : {1e-12, 1.0, 1e15})
    EXPECT_EQ(planned(100, {3 * factor, 1 * factor}), (Counts{75, 25}));
}

TEST(UnitPlanner, ExtremeSpeedsStillCover) {
  EXPECT_EQ(planned(100, {1e300, 1e-300}), (Counts{100, 0}));
  EXPECT_EQ(planned(3, {1e-300, 1, 1e-300}), (Counts{0, 3, 0}));
  for (int64_t units = 0; units < 2000; ++units)
    planned(units, {0.1, 0.1, 0.1, 0.7, 1.0 / 3}, {1, 2, 3, 4, 5});
}

TEST(UnitPlanner, EqualNodesDifferByOneUnitAtMost) {
  for (const int threads : {1, 3, 8})
    for (const size_t nodes : {2, 7, 64})
      for (int64_t units = 0; units < 400; units += 13) {
        const Counts shares = planned(units, Values(nodes, 0.37 * threads), Threads(nodes, threads));
        for (size_t n = 0; n < nodes; ++n)
          ASSERT_EQ(shares[n], (units + static_cast<int64_t>(nodes - 1 - n)) / static_cast<int64_t>(nodes));
      }
}

TEST(UnitPlanner, ProbedNodesGetOneUnit) {
  EXPECT_EQ(planned(11, {1, 0.01, 1}, {}, {0, 1, 0}), (Counts{5, 1, 5}));
  EXPECT_EQ(planned(11, {1, 50, 1}, {}, {0, 1, 0}), (Counts{5, 1, 5}));
  EXPECT_EQ(planned(11, {1, 1e300, 1}, {}, {0, 1, 0}), (Counts{5, 1, 5}));
  EXPECT_EQ(planned(11, {1, 50, 1}, {}, {0, 0, 0}), (Counts{0, 11, 0}));
  EXPECT_EQ(planned(2, {1, 1, 1}, {}, {1, 0, 1}), (Counts{1, 0, 1}));
}

TEST(UnitPlanner, IsAPureFunction) {
  UnitPlanner used, fresh;
  Counts begins(1, 77), again;
  used.plan(500, Values(20, 3.0), Threads(20, 2), {}, begins);
  used.plan(1000, Values{0.31, 0.17, 0.52}, Threads{3, 2, 5}, {}, begins);
  fresh.plan(1000, Values{0.31, 0.17, 0.52}, Threads{3, 2, 5}, {}, again);
  EXPECT_EQ(begins, again);
}

TEST(UnitPlanner, PlansAThousandNodesQuickly) {
  const size_t nodes = 1250;
  uint64_t random = 5;
  for (const int kind : {0, 1, 2, 3}) {  // equal; noisy; of many threads; few units for many threads
    Values speeds(nodes);
    Threads threads(nodes, kind < 2 ? 1 : 64);
    for (size_t n = 0; n < nodes; ++n) {
      const double noise = kind == 0 ? 0 : static_cast<double>((random = mix64(random)) % 1000) * 1e-4;
      if (kind == 3 && n == 0) threads[n] = 1;
      speeds[n] = 100 + 100 * noise;
    }
    const int64_t units = kind == 3 ? 1300 : 320'000;
    UnitPlanner planner;
    Counts begins;
    double best_us = 1e9;
    for (int repeat = 0; repeat < 20; ++repeat) {
      const auto start = std::chrono::steady_clock::now();
      planner.plan(units, speeds, threads, {}, begins);
      const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
      best_us = std::min(best_us, taken.count());
    }
    RecordProperty("best_us_" + std::to_string(kind), std::to_string(best_us));
    EXPECT_LT(best_us, 5000);  // a hundred times less than by one heap operation per unit and thread
    ASSERT_EQ(begins.back(), units);
    const Counts shares = shares_of(begins);
    const double end = latest_end_s(shares, speeds, threads);
    int64_t before_end = 0;  // what all nodes could do while ending earlier: too little
    for (size_t n = 0; n < nodes; ++n)
      before_end += static_cast<int64_t>(end * (1 - 1e-9) * speeds[n] / threads[n]) * threads[n];
    EXPECT_LT(before_end, units);
  }
}

TEST(ClassPlan, EachClassSharesItsUnitsOutBySpeed) {
  ClassPlan plan({1, 0, 1, 0}, {1, 1, 2, 1});
  const auto ranges = plan.plan(Counts{0, 10, 30}, Values{1, 4, 3, 1});
  EXPECT_EQ(std::vector<UnitRange>(ranges.begin(), ranges.end()),
            (std::vector<UnitRange>{{10, 15}, {0, 8}, {15, 30}, {8, 10}}));
  EXPECT_EQ(Values(plan.ends_s().begin(), plan.ends_s().end()),
            (Values{5, 2, 16 / 3.0, 2}));  // 15 units on two threads: eight on one
  EXPECT_EQ(plan.end_s(), 16 / 3.0);
}

TEST(ClassPlan, OneClassIsPlannedAsWithoutClasses) {
  ClassPlan plan({0, 0, 0}, {2, 1, 3});
  for (const int64_t units : {1, 7, 100}) {
    const Counts shares = planned(units, Values{0.3, 1, 0.9}, {2, 1, 3});
    const auto ranges = plan.plan(Counts{0, units}, Values{0.3, 1, 0.9});
    for (size_t n = 0; n < 3; ++n) EXPECT_EQ(ranges[n].size(), shares[n]);
  }
}

/// Rounds of some nodes: each is planned while the one before it runs, as in train.
struct Cluster {
  Cluster(Threads threads_per_node, int64_t round_units)
      : threads(std::move(threads_per_node)),
        units(round_units),
        speeds(threads),
        plan(Threads(threads.size(), 0), threads) {
    next = planned_now();
  }
  Counts planned_now() {
    Counts shares;
    for (const UnitRange& range : plan.plan(Counts{0, units}, speeds)) shares.push_back(range.size());
    return shares;
  }
  /// Runs the round that is planned, at these true speeds; its units.
  Counts run(const Values& rates) {
    const Counts done = next;
    next = planned_now();
    Counts busy_ns;
    for (size_t n = 0; n < threads.size(); ++n)
      busy_ns.push_back(std::llround(static_cast<double>(done[n]) * threads[n] / rates[n] * 1e9));
    speeds.observe(done, busy_ns);
    return done;
  }
  Threads threads;
  int64_t units;
  Speeds speeds;
  ClassPlan plan;
  Counts next;
};

TEST(Rounds, PlansOfEqualNodesStayEvenUnderNoise) {
  uint64_t random = 11;
  const auto normal = [&random] {  // about: the sum of twelve uniform numbers, less six
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>((random = mix64(random)) >> 11) * 0x1p-53;
    return sum;
  };
  for (const int threads : {1, 4})
    for (const int64_t nodes : {2, 4}) {
      int64_t even = 0;
      const int64_t trials = 20, rounds = 200;
      for (int64_t trial = 0; trial < trials; ++trial) {
        Cluster cluster(Threads(nodes, threads), 16 * nodes);
        for (int64_t round = 0; round < 9 + rounds; ++round) {
          Values rates(nodes);
          for (double& rate : rates) rate = 100 * (1 + 0.05 * normal());
          const Counts done = cluster.run(rates);
          even += round >= 9 && done == Counts(nodes, 16);
        }
      }
      EXPECT_GE(static_cast<double>(even), 0.95 * static_cast<double>(trials * rounds))
          << nodes << " nodes of " << threads << " threads";
      RecordProperty("even_" + std::to_string(nodes) + "_" + std::to_string(threads),
                     std::to_string(even) + "/" + std::to_string(trials * rounds));
    }
}

TEST(Rounds, AChangeToAQuarterIsPlannedForTwoMeasurementsLater) {
  Cluster cluster({1, 1}, 40);
  for (int round = 0; round < 20; ++round) cluster.run({100, 100});
  for (int round = 0; round < 3; ++round) EXPECT_EQ(cluster.run({100, 25}), (Counts{20, 20}));
  EXPECT_EQ(cluster.run({100, 25}), (Counts{32, 8}));  // two measured, one already planned
}

TEST(Rounds, ASlowNodeIsProbedAtLittleCostAndComesBackWhenItIsQuickAgain) {
  Cluster cluster({1, 1, 1}, 12);
  const auto slow_rounds = [&cluster](int64_t rounds) {
    Counts probed;
    for (int64_t round = 0; round < rounds; ++round) {
      const Counts done = cluster.run({100, 1, 100});
      if (done[1] > 0 && round > 5) probed.push_back(round);
      EXPECT_TRUE(done[1] == 0 || done[1] == 1 || round < 5) << round;
    }
    return probed;
  };
  const Counts probed = slow_rounds(3000);  // its unit takes 16.7 times as long as a round of 6 units
  ASSERT_GE(probed.size(), 4u);
  for (size_t i = 1; i < probed.size(); ++i) EXPECT_GE(probed[i] - probed[i - 1], 32 * 16);
  int64_t rounds = 0, units = 0;
  for (Counts done; rounds < 2000; ++rounds) {
    done = cluster.run({100, 100, 100});
    units += done[1];
    if (done[1] == 4) break;
  }
  EXPECT_LT(rounds, 1100);
  EXPECT_EQ(units, 2 + 4);  // two probes were enough
}

TEST(Rounds, NodesThatGotNoUnitsAreMeasuredToo) {
  Cluster cluster({1, 1, 1}, 2);
  EXPECT_EQ(cluster.run({1, 1, 100}), (Counts{1, 1, 0}));
  for (int round = 0; round < 8; ++round) cluster.run({1, 1, 100});
  EXPECT_EQ(cluster.run({1, 1, 100}), (Counts{0, 0, 2}));
}

TEST(Rounds, GivenSpeedsAreNeverProbed) {
  ClassPlan plan({0, 0}, {1, 1});
  for (int round = 0; round < 100; ++round) EXPECT_EQ(plan.plan(Counts{0, 4}, Values{100, 1})[1].size(), 0);
}

}  // namespace
}  // namespace lepton::balance
