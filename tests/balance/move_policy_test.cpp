// SPDX-License-Identifier: Apache-2.0
// Rank 0's decisions (policy.h): who gives how much to whom, and when nobody does.
#include <gtest/gtest.h>

#include <limits>
#include <utility>
#include <vector>

#include "moves.h"

namespace lepton::balance {
namespace {

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
  EXPECT_EQ(decisions(policy, 5), (Decisions{{0, 1, 2}}));
}

/// What looks late may be a delay of all nodes, which others have not reported yet.
TEST(MovePolicy, NothingMovesBeforeItMust) {
  MovePolicy policy = begun({plan_of(40, 1), plan_of(40, 1)});
  EXPECT_EQ(policy.due_s(), std::numeric_limits<double>::infinity());
  policy.report(1, report(10, 29, 50, 1));  // ten units late
  EXPECT_EQ(decisions(policy, 10), Decisions{});
  EXPECT_NEAR(policy.due_s(), 40 - 4, 0.1);  // rank 0's unit, the giver's, two of the taker
  MovePolicy all = policy;
  all.report(0, report(11, 28, 50, 1));  // it too
  EXPECT_EQ(decisions(all, 45), Decisions{});
  EXPECT_EQ(all.due_s(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(decisions(policy, policy.due_s()).front().from, 1);
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

TEST(MovePolicy, AnotherClassThatIsFarBehindIsNoExcuse) {
  MovePolicy policy = begun({plan_of(10, 1), plan_of(2, 1), plan_of(1000, 1, 1, 1)});
  policy.report(1, idle(2));
  EXPECT_EQ(decisions(policy, 2), (Decisions{{0, 1, 4}}));
}

TEST(MovePolicy, NoOrderWhereThePairDoesNotEndEarlier) {
  MovePolicy slow =
      begun({plan_of(10, 1), plan_of(0, 6)});  // a unit there takes until 8.5: too little is won
  slow.report(1, idle(2, 6));
  EXPECT_EQ(decisions(slow, 2), Decisions{});
  MovePolicy quicker = begun({plan_of(10, 1), plan_of(0, 4.5)});
  quicker.report(1, idle(2, 4.5));
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

/// Node `taker` is idle and node `giver` late by some units, after node 0 gave to node 1, in this round or in
/// the last one. Do units go?
bool go_on(int giver, int taker, int64_t behind, bool new_round) {
  const std::vector<NodePlan> plans = {plan_of(10, 1), plan_of(0, 1), plan_of(5, 1), plan_of(5, 1)};
  MovePolicy policy = begun(plans);
  policy.report(1, idle(0.5));
  EXPECT_EQ(flat({decide(policy, 0.5)}).front(), (Decision{0, 1, 5}));
  if (new_round) policy.begin(plans);
  for (int node = 0; node < 4; ++node) {
    const int64_t gives = node == 0 && !new_round, taken = node == 1 && !new_round ? 5 : 0;
    const double end_s = node == giver ? 7.0 + static_cast<double>(behind) : node == taker ? 6 : 6.9;
    policy.report(node, report(6, node == giver ? behind : 0, end_s, 1, gives, taken));
  }
  const Decisions given = decisions(policy, 6);
  EXPECT_TRUE(given.empty() || (given[0].from == giver && given[0].to == taker));
  return !given.empty();
}

TEST(MovePolicy, UnitsDoNotGoBackAndForth) {
  EXPECT_TRUE(go_on(2, 3, 2, false));   // neither gave nor took
  EXPECT_FALSE(go_on(1, 0, 2, false));  // back to where they came from
  EXPECT_FALSE(go_on(1, 3, 2, false));  // on to a third
  EXPECT_FALSE(go_on(2, 0, 2, false));  // to one that could do without its own
  for (const auto& [giver, taker] : {std::pair(1, 0), {1, 3}, {2, 0}}) {
    EXPECT_TRUE(go_on(giver, taker, 6, false));  // unless it is well worth it
    EXPECT_TRUE(go_on(giver, taker, 2, true));   // or another round
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
  // 39 units on five threads: 8 s.
  int64_t units = 0;
  double end_s = 0;
  for (double now_s = 1; now_s < 9; now_s = policy.due_s())
    for (const Order& order : decide(policy, now_s)) {
      units += order.give.moves[0].units;
      end_s = order.give.moves[0].end_s;
    }
  EXPECT_NEAR(static_cast<double>(units), 31, 1);
  EXPECT_NEAR(end_s, 9, 0.5);
}

TEST(MovePolicy, AGiverAnswersAfterHalfAUnitInTheMean) {
  for (const double taker_unit_s : {1.5, 2.5}) {
    MovePolicy policy = begun({plan_of(4, 4), plan_of(1, 1)});
    policy.report(0, report(4, 1, 9, 4));
    policy.report(1, idle(4, taker_unit_s));
    EXPECT_EQ(decisions(policy, 4).empty(), taker_unit_s > 2);  // it begins at 6, and must end well before 9
  }
}

}  // namespace
}  // namespace lepton::balance
