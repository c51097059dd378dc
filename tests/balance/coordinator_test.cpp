// SPDX-License-Identifier: Apache-2.0
// Rank 0's side with an outside that is made by hand: orders of a round go out once, when no more reports are
// there, and what is no report is a bug. (What it decides: move_policy_test.cpp.)
#include "balance/coordinator.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "nodes.h"

namespace lepton::balance {
namespace {

/// Notes what is sent; nothing else is called.
struct Wire : Outside {
  void send(int node, const Message& message) override { sent.push_back({0, node, message}); }
  void lend(int, int64_t, std::span<const int32_t>) override { ADD_FAILURE(); }
  void borrow(int, int64_t, std::span<const int32_t>) override { ADD_FAILURE(); }
  bool borrowed(int, int64_t) override { return false; }
  void enter_barrier() override { ADD_FAILURE(); }
  bool barrier_complete() override { return false; }
  std::vector<Sent> sent;
};

const std::vector<NodePlan> plans = {{2, 1, 0, 1, 2}, {20, 1, 0, 1, 20}, {20, 1, 0, 1, 20}};

Message idle(double at_s) {
  return {stamp, Report{at_s, 0, at_s, 1, 0, 0, {}}};
}

TEST(Coordinator, SendsWhatFollowsFromReportsOnce) {
  Wire wire;
  Coordinator coordinator(wire);
  coordinator.begin(stamp, plans);
  EXPECT_FALSE(coordinator.decide(3));
  EXPECT_TRUE(wire.sent.empty());
  coordinator.receive(0, idle(3));
  EXPECT_TRUE(wire.sent.empty());
  EXPECT_TRUE(coordinator.decide(3));
  ASSERT_EQ(wire.sent.size(), 1u);
  EXPECT_EQ(wire.sent[0].to, 1);
  EXPECT_EQ(wire.sent[0].message.stamp, stamp);
  const auto& give = std::get<Give>(wire.sent[0].message.body);
  ASSERT_EQ(give.moves.size(), 1u);
  EXPECT_EQ(give.moves[0].node, 0);
  EXPECT_GE(give.moves[0].units, 4);
  EXPECT_LT(give.end_s, 20);
  EXPECT_FALSE(coordinator.decide(3));
  EXPECT_EQ(wire.sent.size(), 1u);
}

/// Node 2 also has units for node 0, which is to be told when it is about to end what node 1 gave it.
TEST(Coordinator, SendsWhatIsDueWithoutAnotherReport) {
  Wire wire;
  Coordinator coordinator(wire);
  coordinator.begin(stamp, plans);
  EXPECT_EQ(coordinator.due_s(), std::numeric_limits<double>::infinity());
  coordinator.receive(0, idle(3));
  ASSERT_TRUE(coordinator.decide(3));
  const double due_s = coordinator.due_s();
  EXPECT_GT(due_s, 3);
  EXPECT_LT(due_s, std::get<Give>(wire.sent[0].message.body).moves[0].end_s - 2);
  EXPECT_FALSE(coordinator.decide(due_s - 0.01));
  ASSERT_TRUE(coordinator.decide(due_s));
  ASSERT_EQ(wire.sent.size(), 2u);
  EXPECT_EQ(wire.sent[1].to, 2);
  EXPECT_EQ(std::get<Give>(wire.sent[1].message.body).moves[0].node, 0);
  coordinator.begin({6, 0, 4, 1}, plans);
  EXPECT_EQ(coordinator.due_s(), std::numeric_limits<double>::infinity());
}

/// Two idle nodes that report at about a time share; the first one alone would get what both should have.
TEST(Coordinator, DecidesOnAllReportsTogether) {
  const auto to_first = [](bool together) {
    Wire wire;
    Coordinator coordinator(wire);
    coordinator.begin(stamp, std::vector<NodePlan>{{40, 1, 0, 1, 40}, {0, 1, 0, 1, 0}, {0, 1, 0, 1, 0}});
    coordinator.receive(1, idle(3));
    if (!together) coordinator.decide(3);
    coordinator.receive(2, idle(3));
    coordinator.decide(3);
    int64_t units = 0;
    for (const Sent& sent : wire.sent)
      for (const Move& move : std::get<Give>(sent.message.body).moves)
        units += move.node == 1 ? move.units : 0;
    return units;
  };
  EXPECT_LT(to_first(true), to_first(false));
}

TEST(Coordinator, ARoundBeginsWithNothingToDecide) {
  Wire wire;
  Coordinator coordinator(wire);
  coordinator.begin(stamp, plans);
  coordinator.receive(0, idle(3));
  const Stamp next{6, 0, 4, 1};
  coordinator.begin(next, plans);
  coordinator.decide(3);
  EXPECT_TRUE(wire.sent.empty());
  coordinator.receive(0, {next, Report{3, 0, 3, 1, 0, 0, {}}});
  coordinator.decide(3);
  ASSERT_FALSE(wire.sent.empty());
  EXPECT_EQ(wire.sent[0].message.stamp, next);
}

TEST(Coordinator, WhatIsNoReportOfThisRoundIsABug) {
  Wire wire;
  Coordinator coordinator(wire);
  coordinator.begin(stamp, plans);
  expect_bug([&] { coordinator.receive(1, {stamp, Give{}}); });
  expect_bug([&] { coordinator.receive(1, {stamp, Started{}}); });
  expect_bug([&] { coordinator.receive(1, {{4, 0, 3, 1}, Report{}}); });
  expect_bug([&] { coordinator.receive(1, {{5, 0, 3, 2}, Report{}}); });
}

}  // namespace
}  // namespace lepton::balance
