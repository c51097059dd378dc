// SPDX-License-Identifier: Apache-2.0
// Rank 0's decisions (policy.h): who gives how much to whom, and when nobody does.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "balance/policy.h"
#include "base/philox.h"

namespace lepton::balance {
namespace {

NodePlan plan_of(int64_t units, double unit_s, int threads = 1, int node_class = 0) {
  const auto turns = static_cast<double>((units + threads - 1) / threads);
  return {units, threads, node_class, unit_s, turns * unit_s};
}

MovePolicy begun(const std::vector<NodePlan>& plans) {
  MovePolicy policy;
  policy.begin(plans);
  return policy;
}

struct Decision {
  int from = 0, to = 0;
  int64_t units = 0;
  bool operator==(const Decision&) const = default;
  friend void PrintTo(const Decision& d, std::ostream* out) {
    *out << d.from << " gives " << d.to << " " << d.units;
  }
};
using Decisions = std::vector<Decision>;

Decisions flat(const std::vector<Order>& orders) {
  Decisions all;
  for (const Order& order : orders)
    for (const Move& move : order.give.moves) all.push_back({order.from, move.node, move.units});
  return all;
}

std::vector<Order> decide(MovePolicy& policy, double now_s) {
  std::vector<Order> orders;
  policy.decide(now_s, orders);
  return orders;
}

Decisions decisions(MovePolicy& policy, double now_s) {
  return flat(decide(policy, now_s));
}

Report report(double at_s, int64_t left, double end_s, double unit_s, int64_t gives_seen = 0,
              int64_t taken = 0) {
  return {at_s, left, end_s, unit_s, gives_seen, taken, {}};
}

Report idle(double at_s, double unit_s = 1, int64_t gives_seen = 0, int64_t taken = 0) {
  return report(at_s, 0, at_s, unit_s, gives_seen, taken);
}

TEST(MovePolicy, WithoutReportsNobodyMovesAnything) {
  MovePolicy policy = begun({plan_of(100, 1), plan_of(1, 1)});  // however uneven the plan is
  EXPECT_EQ(decisions(policy, 0), Decisions{});
  EXPECT_EQ(decisions(policy, 50), Decisions{});
  policy.report(1, idle(2));
  EXPECT_NE(decisions(policy, 2), Decisions{});
  EXPECT_EQ(decisions(policy, 2), Decisions{});  // decided
}

TEST(MovePolicy, WhoEndsLastGivesToWhoIsIdle) {
  MovePolicy policy = begun({plan_of(10, 1), plan_of(2, 1), plan_of(6, 1)});
  policy.report(1, idle(2));
  const std::vector<Order> orders = decide(policy, 2);
  // All would end at 6; node 2 will.
  ASSERT_EQ(flat(orders), (Decisions{{0, 1, 4}}));
  EXPECT_DOUBLE_EQ(orders[0].give.end_s, 6);
  EXPECT_DOUBLE_EQ(orders[0].give.moves[0].end_s, 6);
}

TEST(MovePolicy, AFasterOneGetsMore) {
  MovePolicy policy = begun({plan_of(24, 1), plan_of(4, 0.5)});
  policy.report(1, idle(2, 0.5));
  // 22 s of work are left on node 0: 22/3 s on both, of which node 1 does two thirds; at once half at most.
  EXPECT_EQ(decisions(policy, 2).front().from, 0);
  EXPECT_EQ(decisions(policy, 2), Decisions{});
}

TEST(MovePolicy, ALateNodeGivesToOneThatIsOnPlan) {
  MovePolicy policy = begun({plan_of(10, 1), plan_of(10, 1)});
  policy.report(0, report(4, 7, 20, 2));
  const std::vector<Order> orders = decide(policy, 4);
  // At 2 s a unit 20 s and 10 s are level at 13.3: three units. But who was silent gets one for each thread,
  ASSERT_EQ(flat(orders), (Decisions{{0, 1, 1}}));
  EXPECT_DOUBLE_EQ(orders[0].give.end_s, 18);
  EXPECT_DOUBLE_EQ(orders[0].give.moves[0].end_s, 11);
  EXPECT_EQ(decisions(policy, 4), Decisions{});
  policy.report(1, report(4.5, 6, 11, 1, 0, 1));  // and the others once it has said that it is alive.
  EXPECT_EQ(decisions(policy, 4.5), (Decisions{{0, 1, 2}}));
}

TEST(MovePolicy, SeveralGetFromOneAndOneFromSeveral) {
  MovePolicy one = begun({plan_of(20, 1), plan_of(2, 1), plan_of(2, 1), plan_of(2, 1)});
  for (const int node : {1, 2, 3}) one.report(node, idle(2));
  const std::vector<Order> orders = decide(one, 2);
  ASSERT_EQ(orders.size(), 1u);  // one message
  EXPECT_EQ(orders[0].give.moves.size(), 3u);
  for (const Move& move : orders[0].give.moves) EXPECT_NEAR(static_cast<double>(move.units), 4.5, 0.5);
  MovePolicy several = begun({plan_of(2, 1), plan_of(10, 1), plan_of(10, 1)});
  several.report(0, idle(2));
  const Decisions given = decisions(several, 2);
  ASSERT_EQ(given.size(), 2u);
  EXPECT_EQ(given[0].to, 0);
  EXPECT_EQ(given[1].to, 0);
  EXPECT_EQ(given[0].from + given[1].from, 3);
}

TEST(MovePolicy, OnlyWithinAClass) {
  MovePolicy policy = begun({plan_of(20, 1, 1, 0), plan_of(2, 1, 1, 1), plan_of(4, 1, 1, 0)});
  policy.report(1, idle(2));
  EXPECT_EQ(decisions(policy, 2), Decisions{});
  policy.report(0, report(3, 16, 20, 1));
  const Decisions given = decisions(policy, 3);
  ASSERT_EQ(given.size(), 1u);
  EXPECT_EQ(given[0].from, 0);
  EXPECT_EQ(given[0].to, 2);
}

/// Units that are easily moved by one class are no reason to look at another.
TEST(MovePolicy, EachClassHasALevelOfItsOwn) {
  MovePolicy policy =
      begun({plan_of(20, 1, 1, 0), plan_of(20, 1, 1, 0), plan_of(40, 1, 1, 1), plan_of(2, 1, 1, 1)});
  policy.report(0, report(2, 17, 20, 1));
  EXPECT_EQ(decisions(policy, 2), Decisions{});  // its class is even; nobody of the other has spoken
  policy.report(3, idle(3));
  const Decisions given = decisions(policy, 3);
  ASSERT_EQ(given.size(), 1u);
  EXPECT_EQ(given[0].from, 2);
  EXPECT_EQ(given[0].to, 3);
}

TEST(MovePolicy, NoOrderWhereThePairDoesNotEndEarlier) {
  MovePolicy slow = begun({plan_of(10, 1), plan_of(0, 9)});  // a unit there takes until 11
  slow.report(1, idle(2, 9));
  EXPECT_EQ(decisions(slow, 2), Decisions{});
  MovePolicy quicker = begun({plan_of(10, 1), plan_of(0, 6)});
  quicker.report(1, idle(2, 6));
  EXPECT_EQ(decisions(quicker, 2), (Decisions{{0, 1, 1}}));
  MovePolicy last = begun({plan_of(4, 1), plan_of(3, 1)});  // its last unit would end as early here
  last.report(0, report(2.5, 1, 4.5, 1));
  EXPECT_EQ(decisions(last, 3.5), Decisions{});
}

TEST(MovePolicy, ImbalanceThatIsWorthNoMessageStays) {
  const double unit_s = worth_s / 20;
  MovePolicy small = begun({plan_of(18, unit_s), plan_of(2, unit_s)});
  small.report(1, idle(2 * unit_s, unit_s));
  EXPECT_EQ(decisions(small, 2 * unit_s), Decisions{});
  MovePolicy large = begun({plan_of(180, unit_s), plan_of(2, unit_s)});
  large.report(1, idle(2 * unit_s, unit_s));
  EXPECT_NE(decisions(large, 2 * unit_s), Decisions{});
}

TEST(MovePolicy, UnitsDoNotGoBackAndForth) {
  for (const bool back : {false, true})
    for (const int64_t behind : {2, 6}) {
      MovePolicy policy = begun({plan_of(10, 1), plan_of(back ? 0 : 10, 1)});
      if (back) {
        policy.report(1, idle(0.5));
        ASSERT_EQ(decisions(policy, 0.5), (Decisions{{0, 1, 5}}));
      }
      // Node 1, which took, turns out late by some units, and node 0 idle.
      policy.report(0, idle(6, 1, 1, 0));
      policy.report(1, report(6, behind, 7.0 + static_cast<double>(behind), 1, 0, back ? 5 : 0));
      EXPECT_EQ(decisions(policy, 6).empty(), back && behind == 2);
    }
}

TEST(MovePolicy, TheQuickestIdleNodeIsServedFirst) {
  MovePolicy policy = begun({plan_of(12, 1), plan_of(0, 3), plan_of(0, 1)});
  policy.report(1, idle(2, 3));
  policy.report(2, idle(2, 1));
  const Decisions given = decisions(policy, 2);
  ASSERT_FALSE(given.empty());
  EXPECT_EQ(given[0].to, 2);
  MovePolicy busy = begun({plan_of(40, 1), plan_of(0, 9), plan_of(2, 1)});  // one busy until 2 ends first
  busy.report(1, idle(1, 9));
  ASSERT_FALSE(decisions(busy, 1).empty());
}

TEST(MovePolicy, ThreadsTakeUnitsTogether) {
  MovePolicy policy = begun({plan_of(40, 1), plan_of(4, 1, 4)});
  policy.report(1, idle(1, 1));
  const std::vector<Order> orders = decide(policy, 1);
  // 39 units on five threads: 8 s.
  int64_t units = 0;
  for (const Decision& decision : flat(orders)) units += decision.units;
  EXPECT_NEAR(static_cast<double>(units), 31, 1);
  EXPECT_NEAR(orders[0].give.moves[0].end_s, 9, 0.5);
}

TEST(MovePolicy, AnOrderAndAReportThatCrossAreReckonedTogether) {
  const auto ordered = [] {
    MovePolicy policy = begun({plan_of(21, 1), plan_of(1, 1)});
    policy.report(1, idle(1));
    EXPECT_EQ(decisions(policy, 1), (Decisions{{0, 1, 10}}));
    return policy;
  };
  MovePolicy crossed = ordered();
  crossed.report(0, report(1.5, 18, 21, 1, 0));  // it has not seen the order
  EXPECT_EQ(decisions(crossed, 1.6), Decisions{});
  MovePolicy seen = ordered();
  seen.report(0, report(1.5, 18, 21, 1, 1));  // it has: these 18 are others
  EXPECT_NE(decisions(seen, 1.6), Decisions{});
  MovePolicy waiting = ordered();
  waiting.report(1, idle(2));  // nothing has come yet
  EXPECT_EQ(decisions(waiting, 2), Decisions{});
  MovePolicy done = ordered();
  done.report(0, report(4, 9, 13, 1, 1));
  done.report(1, idle(4, 0.1, 0, 10));  // it has done what came
  EXPECT_NE(decisions(done, 4), Decisions{});
}

/// Node 1 was to get units of both others, and node 0 had none. What does node 2, late, give it then?
int64_t given_after_missing(bool told, bool taker_reports) {
  MovePolicy policy = begun({plan_of(21, 1), plan_of(1, 1), plan_of(16, 1)});
  policy.report(1, idle(1));
  EXPECT_EQ(decisions(policy, 1), (Decisions{{0, 1, 8}, {2, 1, 3}}));
  Report rest = report(4, 0, 11, 1, 1);
  if (told) rest.missing = {{1, 8, 0}};
  policy.report(0, rest);
  if (taker_reports) policy.report(1, idle(4, 1, 0, 3));  // node 2's have come, and are done
  policy.report(2, report(4, 12, 22, 1, 1));
  int64_t units = 0;
  for (const Decision& decision : decisions(policy, 4)) units += decision.to == 1 ? decision.units : 0;
  return units;
}

TEST(MovePolicy, MissingUnitsAreNotOnTheirWay) {
  for (const bool taker_reports : {false, true}) {
    EXPECT_GE(given_after_missing(true, taker_reports), 6);
    EXPECT_LE(given_after_missing(false, taker_reports), 4);
  }
}

TEST(MovePolicy, WhoIsStuckAndSilentGetsNothing) {
  for (const double now_s : {4.0, 5.5, 9.0}) {
    MovePolicy policy = begun({plan_of(40, 1), plan_of(4, 1)});
    policy.report(0, report(now_s, 30, 50, 1));
    EXPECT_EQ(decisions(policy, now_s).empty(), now_s > 5) << now_s;  // it should have ended at 4
    policy.report(1, idle(now_s));                                    // but it is alive
    EXPECT_FALSE(decisions(policy, now_s).empty()) << now_s;
  }
}

TEST(MovePolicy, WhoseSpeedNobodyKnowsIsTakenForAMeanOneOnceItSpeaks) {
  MovePolicy policy = begun({plan_of(20, 0), plan_of(20, 0), plan_of(0, 0)});
  policy.report(0, report(1, 18, 20, 1));
  EXPECT_EQ(decisions(policy, 1), Decisions{});  // nothing is known of the others
  policy.report(2, idle(1, 0));
  const Decisions given = decisions(policy, 1);
  ASSERT_EQ(given.size(), 1u);
  EXPECT_EQ(given[0].from, 0);  // node 1 has said nothing
  EXPECT_EQ(given[0].to, 2);
  EXPECT_EQ(given[0].units, 1);  // which will tell
  EXPECT_EQ(decisions(policy, 1.5), Decisions{});
  policy.report(2, idle(2, 1, 0, 1));
  EXPECT_GE(decisions(policy, 2).at(0).units, 8);
}

TEST(MovePolicy, WhereNobodyHasComputedNothingMoves) {
  MovePolicy policy = begun({plan_of(20, 0), plan_of(0, 0)});
  policy.report(1, idle(1, 0));
  EXPECT_EQ(decisions(policy, 1), Decisions{});
}

TEST(MovePolicy, WhatIsLeftIsEstimatedBetweenReports) {
  MovePolicy policy = begun({plan_of(10, 1), plan_of(4, 1)});
  policy.report(1, idle(9.4));
  EXPECT_EQ(decisions(policy, 9.4), Decisions{});  // by then node 0 has begun its last unit
}

TEST(MovePolicy, ARoundBeginsAnew) {
  MovePolicy policy = begun({plan_of(21, 1), plan_of(1, 1)});
  policy.report(1, idle(1));
  const Decisions first = decisions(policy, 1);
  policy.report(0, report(1, 3, 50, 10, 1));
  policy.report(1, idle(1, 10));
  for (int again = 0; again < 2; ++again) {
    policy.begin(std::vector<NodePlan>{plan_of(21, 1), plan_of(1, 1)});
    EXPECT_EQ(decisions(policy, 1), Decisions{});
    policy.report(1, idle(1));
    EXPECT_EQ(decisions(policy, 1), first);
  }
}

/// Any plans, any reports: what no order may ever do.
TEST(MovePolicy, OrdersKeepTheirBounds) {
  uint64_t random = 3;
  const auto below = [&](int64_t n) {
    return static_cast<int64_t>((random = mix64(random)) % static_cast<uint64_t>(n));
  };
  int64_t given = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    const auto nodes = static_cast<size_t>(2 + below(7));
    std::vector<NodePlan> plans;
    for (size_t n = 0; n < nodes; ++n)
      plans.push_back(plan_of(below(30), trial % 5 ? 0.1 * static_cast<double>(1 + below(30)) : 0,
                              1 + static_cast<int>(below(4)), static_cast<int>(below(2))));
    MovePolicy policy = begun(plans), twin = begun(plans);
    std::vector<Report> last(nodes);
    std::vector<int64_t> gives(nodes, 0), ordered_to(nodes, 0);
    double now_s = 0;
    for (int turn = 0; turn < 5; ++turn) {
      now_s += 0.1 * static_cast<double>(below(20));
      std::vector<char> fresh(nodes, 0);
      for (int64_t count = 1 + below(3); count > 0; --count) {
        const auto n = static_cast<size_t>(below(std::ssize(plans)));
        const double unit_s = 0.1 * static_cast<double>(1 + below(40));
        const int64_t left = below(3) ? below(20) : 0;
        const double work_s = static_cast<double>(left + below(2)) * unit_s / plans[n].threads;
        last[n] = report(now_s, left, now_s + work_s, unit_s, gives[n], ordered_to[n]);
        fresh[n] = 1;
        policy.report(static_cast<int>(n), last[n]);
        twin.report(static_cast<int>(n), last[n]);
      }
      const std::vector<Order> orders = decide(policy, now_s), same = decide(twin, now_s);
      ASSERT_EQ(flat(orders), flat(same));
      for (const Order& order : orders) {
        const auto from = static_cast<size_t>(order.from);
        ++gives[from];
        int64_t sum = 0;
        for (const Move& move : order.give.moves) {
          const auto to = static_cast<size_t>(move.node);
          ASSERT_NE(to, from);
          ASSERT_EQ(plans[to].node_class, plans[from].node_class);
          ASSERT_GT(move.units, 0);
          ASSERT_GT(move.end_s, now_s);
          if (fresh[from]) {
            ASSERT_LT(move.end_s + worth_s, last[from].end_s);
          }
          ASSERT_EQ(std::ranges::count(order.give.moves, move.node, &Move::node), 1);
          sum += move.units;
          ordered_to[to] += move.units;
        }
        if (fresh[from]) {
          ASSERT_LE(sum, last[from].left);
          const bool takes_too =
              std::ranges::any_of(flat(orders), [&](const Decision& d) { return d.to == order.from; });
          ASSERT_TRUE(takes_too || order.give.end_s < last[from].end_s);
        }
        ++given;
      }
    }
  }
  EXPECT_GT(given, 1000);
}

}  // namespace
}  // namespace lepton::balance
