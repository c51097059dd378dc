// SPDX-License-Identifier: Apache-2.0
// What rank 0 makes of reports (policy.h): those that cross orders, of nodes that had less than it believed,
// that are silent or unknown; and any reports, which no decision may ever go beyond.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "base/philox.h"
#include "moves.h"

namespace lepton::balance {
namespace {

TEST(MovePolicy, AnOrderAndAReportThatCrossAreReckonedTogether) {
  const auto ordered = [] {
    MovePolicy policy = begun({plan_of(21, 1), plan_of(1, 1)});
    policy.report(1, idle(1));
    EXPECT_EQ(decisions(policy, 1), (Decisions{{0, 1, 10}}));
    return policy;
  };
  MovePolicy crossed = ordered();
  crossed.report(0, report(1.5, 18, 21, 1, 0));  // it has not seen the order
  EXPECT_EQ(decisions(crossed, 8), Decisions{});
  MovePolicy seen = ordered();
  seen.report(0, report(1.5, 18, 21, 1, 1));  // it has: these 18 are others
  EXPECT_NE(decisions(seen, 8), Decisions{});
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
  EXPECT_EQ(decisions(policy, 1), (Decisions{{0, 1, 8}}));
  EXPECT_EQ(decisions(policy, 5), (Decisions{{2, 1, 3}}));
  Report rest = report(8, 0, 9, 1, 1);
  if (told) rest.missing = {{1, 8, 0}};
  policy.report(0, rest);
  if (taker_reports) policy.report(1, idle(8, 1, 0, 3));  // node 2's have come, and are done
  policy.report(2, report(8, 12, 26, 1, 1));
  int64_t units = 0;
  for (const Decision& decision : decisions(policy, 8)) units += decision.to == 1 ? decision.units : 0;
  return units;
}

TEST(MovePolicy, AllTakersOfAnOrderThatCrossesAreReckonedWith) {
  MovePolicy policy = begun({plan_of(41, 1), plan_of(1, 1), plan_of(1, 1)});
  policy.report(1, idle(1));
  policy.report(2, idle(1));
  int64_t units = 0;
  for (const Decision& decision : decisions(policy, 1)) units += decision.units;
  EXPECT_GE(units, 25);
  policy.report(0, report(1.5, 38, 41, 1, 0));
  EXPECT_EQ(decisions(policy, 1.6), Decisions{});
}

/// Of an order that a node has not seen yet it can give no more than it has.
TEST(MovePolicy, ANodeThatIsToGiveMoreThanItHasStillEndsWhatIsUnderWay) {
  MovePolicy policy = begun({plan_of(21, 1), plan_of(1, 1), plan_of(6, 1)});
  policy.report(1, idle(1));
  EXPECT_EQ(decisions(policy, 1).front(), (Decision{0, 1, 8}));
  policy.report(0, report(1.5, 4, 21.5, 4, 0));  // 4 of 4 s leave: then it ends at 5.5
  policy.report(2, report(1.5, 20, 60, 2));
  for (const Order& order : decide(policy, 1.5))
    for (const Move& move : order.give.moves)
      EXPECT_GE(move.end_s, move.node == 0 ? 5.5 + 4 * static_cast<double>(move.units) : 0);
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

/// Who was never measured reports its first unit: who has not by now takes longer.
TEST(MovePolicy, WhoHasNotEndedItsFirstUnitIsTakenForSlowerAndSlower) {
  MovePolicy policy = begun({plan_of(20, 0), plan_of(20, 0)});
  policy.report(0, report(1, 18, 20, 1));
  EXPECT_EQ(decisions(policy, 1), Decisions{});  // about as fast, as far as one knows
  int64_t given = 0;
  double last_s = 1;
  for (double due_s = policy.due_s(); due_s < 40 && given < 19; due_s = policy.due_s()) {
    ASSERT_GT(due_s, last_s);
    last_s = due_s;
    for (const Decision& decision : decisions(policy, due_s)) {
      EXPECT_EQ(decision.from, 1);
      given += decision.units;
    }
  }
  EXPECT_EQ(given, 19);  // all but the one under way
  EXPECT_LT(last_s, 40);
  policy.report(1, report(41, 0, 41, 40, 0));
  EXPECT_EQ(decisions(policy, 41), Decisions{});
  EXPECT_EQ(policy.due_s(), std::numeric_limits<double>::infinity());
}

TEST(MovePolicy, WhoIsSilentGetsNothing) {
  MovePolicy policy = begun({plan_of(20, 0), plan_of(2, 0)});
  policy.report(0, report(30, 18, 600, 30));
  for (const double now_s : {30.0, 60.0}) EXPECT_EQ(decisions(policy, now_s), Decisions{});
  policy.report(1, idle(60, 1));
  EXPECT_NE(decisions(policy, 60), Decisions{});
}

TEST(MovePolicy, WhereNobodyHasComputedNothingMoves) {
  MovePolicy policy = begun({plan_of(20, 0), plan_of(0, 0)});
  policy.report(1, idle(1, 0));
  EXPECT_EQ(decisions(policy, 1), Decisions{});
}

TEST(MovePolicy, TheMeanSpeedIsThatOfThoseThatAreKnown) {
  MovePolicy policy = begun({plan_of(20, 0), plan_of(20, 0), plan_of(0, 0)});
  policy.report(0, report(3, 18, 21, 1));
  policy.report(1, report(3, 18, 60, 3));
  policy.report(2, idle(3, 0));
  const std::vector<Order> orders = decide(policy, 3);
  double last_s = 0;
  int64_t units = 0;
  for (const Order& order : orders)
    for (const Move& move : order.give.moves) {
      if (move.node != 2) continue;
      units += move.units;
      last_s = std::max(last_s, move.end_s);
    }
  EXPECT_GT(units, 0);
  EXPECT_DOUBLE_EQ(last_s, 3 + 2.0 * static_cast<double>(units));
}

TEST(MovePolicy, WhatIsLeftIsEstimatedBetweenReports) {
  MovePolicy policy = begun({plan_of(10, 1), plan_of(4, 1)});
  policy.report(0, report(2, 2, 12, 1));  // behind a long unit, it seems
  policy.report(1, idle(5));
  EXPECT_EQ(decisions(policy, 5), Decisions{});  // by then both will have been started
  MovePolicy planned = begun({plan_of(1, 10), plan_of(0, 1)});
  planned.report(1, idle(0.5));
  EXPECT_EQ(decisions(planned, 0.5), Decisions{});  // each thread has started one at once
}

TEST(MovePolicy, ARoundBeginsAnew) {
  MovePolicy policy = begun({plan_of(21, 1), plan_of(1, 1)});
  policy.report(1, idle(1));
  const Decisions first = decisions(policy, 1);
  policy.report(0, report(1, 3, 50, 10, 1));
  policy.report(1, idle(1, 10));
  policy.begin(std::vector<NodePlan>{plan_of(21, 1), plan_of(1, 1)});
  policy.report(0, report(9, 12, 30, 1));
  EXPECT_EQ(decisions(policy, 9), Decisions{});  // that node 1 was alive in the last round is long ago
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
