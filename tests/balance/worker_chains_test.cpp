// SPDX-License-Identifier: Apache-2.0
// Workers (balance/worker.h) over several moves and rounds: units that are given on, any orders in any
// succession, and what cannot be.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/philox.h"
#include "nodes.h"

namespace lepton::balance {
namespace {

/// A gives to B, who gives them on to C: B answers to A when C has started them, and not before.
TEST(Worker, ChainsAreAnsweredBackwards) {
  Job job(3);
  job.give(0, {{1, 4, 12}});
  job.deliver();
  job.worker(1).poll(0);
  job.give(1, {{2, 3, 12}});  // of the four that came
  EXPECT_EQ(job.waiting<Offer>()[0].second.units, (Units{7, 8, 9}));
  job.deliver();
  job.run_dry(0);
  job.run_dry(1);  // its own and 6
  EXPECT_TRUE(job.waiting<Started>().empty());
  EXPECT_EQ(job.node(1).entered, 0);
  job.worker(2).poll(0);
  for (int unit = 0; unit < 12; ++unit) job.node(2).compute();
  job.worker(2).poll(12);
  EXPECT_TRUE(job.waiting<Started>().empty());
  EXPECT_EQ(job.node(2).compute(), 9);
  job.worker(2).poll(13);
  ASSERT_EQ(job.waiting<Started>().size(), 1u);
  EXPECT_EQ(job.waiting<Started>()[0].first, 1);
  EXPECT_EQ(job.node(2).entered, 1);
  job.deliver();  // C to B, and B to A
  for (const int n : {0, 1}) {
    EXPECT_EQ(job.node(n).entered, 0);
    job.worker(n).poll(13);
    EXPECT_EQ(job.node(n).entered, 1);
  }
  EXPECT_EQ(job.worker(1).moved().given, 3);
  EXPECT_EQ(job.worker(1).moved().taken, 4);
}

TEST(Worker, UnitsMayComeBack) {
  Job job(2);
  job.give(0, {{1, 2, 12}});
  job.deliver();
  job.worker(1).poll(0);
  job.give(1, {{0, 2, 10}});
  job.deliver();
  for (int n : {0, 1, 0}) job.run_dry(n);
  EXPECT_EQ(job.node(0).entered, 0);  // it answers to node 1, which answers to it
  job.deliver();
  for (int n : {0, 1, 0}) job.worker(n).poll(12);
  EXPECT_TRUE(job.worker(0).closed() && job.worker(1).closed());
  EXPECT_EQ(job.node(0).queue.started(), 10);
}

TEST(Worker, TheNextRoundBeginsAnew) {
  Job job(2);
  job.give(0, {{1, 3, 12}});
  job.deliver();
  for (const int n : {0, 1, 1}) job.run_dry(n);
  job.deliver();
  job.worker(0).poll(13);
  job.worker(1).poll(13);
  ASSERT_TRUE(job.worker(0).closed() && job.worker(1).closed());
  const Stamp next{6, 0, 3, 2};
  job.between.entered = 0;
  job.between.sent.clear();
  for (int n = 0; n < 2; ++n) job.begin(n, next);
  EXPECT_FALSE(job.worker(0).closed());
  EXPECT_EQ(job.worker(0).moved().given, 0);
  EXPECT_EQ(job.worker(1).moved().taken, 0);
  job.worker(0).receive(0, 0, {next, Give{{{1, 1, 12}}, 0}});
  EXPECT_EQ(job.waiting<Offer>()[0].second.number, 1);  // numbers are never used again: rows go by them
  job.deliver();
  for (const int n : {0, 1, 1}) job.run_dry(n);
  job.deliver();
  for (const int n : {0, 1, 0}) job.worker(n).poll(13);
  EXPECT_TRUE(job.worker(0).closed() && job.worker(1).closed());
  EXPECT_EQ(job.node(1).entered, 2);
}

/// Who answered for a unit in one round has nothing to do with who starts it in the next.
TEST(Worker, NobodyAnswersForUnitsOfTheLastRound) {
  Job job(3);
  job.give(0, {{1, 4, 12}});
  job.deliver();
  job.worker(1).poll(0);
  job.give(1, {{2, 2, 12}});  // 6 and 7 stay with node 1, 8 and 9 go on
  job.deliver();
  for (const int n : {0, 1, 2, 2}) job.run_dry(n);
  job.deliver();
  for (const int n : {0, 1, 2, 0, 1}) job.worker(n).poll(13);
  for (const int n : {0, 1, 2}) ASSERT_TRUE(job.worker(n).closed()) << n;
  job.between.entered = 0;
  job.between.sent.clear();
  const Stamp next{6, 0, 4, 1};
  const NodePlan plan{10, 1, 0, 1.0, 10};
  for (int n = 0; n < 3; ++n)
    job.worker(n).begin(next, plan, {10 * ((n + 2) % 3), 10 * ((n + 2) % 3) + 10}, false);
  job.worker(0).receive(0, 0, {next, Give{{{1, 2, 12}}, 0}});  // 28 and 29
  job.deliver();
  job.worker(1).poll(0);
  for (int unit = 0; unit < 10; ++unit) EXPECT_EQ(job.node(1).compute(), unit);  // 6 to 9 among them
  job.worker(1).poll(10);
  EXPECT_TRUE(job.waiting<Started>().empty());
  job.run_dry(1);
  EXPECT_EQ(job.waiting<Started>().size(), 1u);
}

TEST(Worker, WhatCannotBeIsABug) {
  Job job(2);
  expect_bug([&] { job.worker(0).receive(0, 1, {{4, 0, 3, 1}, Give{}}); });
  expect_bug([&] { job.worker(0).receive(0, 1, {{5, 0, 3, 2}, Give{}}); });
  expect_bug([&] { job.worker(0).receive(0, 1, {stamp, Report{}}); });
  expect_bug([&] { job.worker(0).receive(0, 1, {stamp, Started{0}}); });
  Job alone(2, true);
  expect_bug([&] { alone.worker(0).receive(0, 1, {stamp, Give{}}); });
  Job closed(2);
  for (const int n : {0, 1, 0}) closed.run_dry(n);
  expect_bug([&] { closed.worker(0).receive(0, 1, {stamp, Offer{0, {11}, 0}}); });
}

TEST(Worker, ABarrierThatIsCompleteTooEarlyIsABug) {
  Job job(2);
  job.run_dry(0);
  job.give(1, {{0, 2, 12}});
  job.deliver();
  job.between.said_complete = true;
  expect_bug([&] { job.worker(0).poll(10); });  // units have just come
  Job giver(2);
  giver.run_dry(0);
  giver.give(1, {{0, 2, 12}});
  giver.deliver();
  giver.worker(0).poll(10);
  giver.give(0, {{1, 2, 12}});
  giver.between.said_complete = true;
  expect_bug([&] { giver.worker(0).poll(10); });  // units are given on
}

TEST(Worker, ARoundThatBeginsTooEarlyIsABug) {
  Job lent(2);
  lent.give(0, {{1, 2, 12}});
  expect_bug([&] { lent.begin(0, {6, 0, 4, 1}); });
  Job borrowed(2);
  borrowed.give(0, {{1, 2, 12}});
  borrowed.deliver();
  expect_bug([&] { borrowed.begin(1, {6, 0, 4, 1}); });
}

/// Any orders, delivered at any time: each unit is started once, each node enters the barrier once, when
/// nothing is under way to it, and all close.
TEST(Worker, AnyOrdersEndWithEachUnitStartedOnce) {
  uint64_t random = 1;
  const auto below = [&](int64_t n) {
    return static_cast<int64_t>((random = mix64(random)) % static_cast<uint64_t>(n));
  };
  int64_t moved = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const int nodes = static_cast<int>(2 + below(4));
    Job job(nodes);
    job.between.rows_wait = below(2) == 0;
    std::vector<int> starts(static_cast<size_t>(10 * nodes), 0);
    const auto all_closed = [&] {
      return std::ranges::all_of(job.all, [](const auto& node) { return node->worker.closed(); });
    };
    int turns = 0;
    for (; !all_closed() && turns < 20'000; ++turns) {
      const int n = static_cast<int>(below(nodes));
      const auto what = below(4);
      if (what == 0 && turns < 300 && !job.worker(n).closed()) {
        const int to = static_cast<int>((n + 1 + below(nodes - 1)) % nodes);
        job.give(n, {{to, 1 + below(4), 0}});
      } else if (what == 1) {
        const int32_t unit = job.node(n).compute();
        if (unit >= 0) ++starts[static_cast<size_t>(unit)];
      } else if (what == 2 && !job.between.sent.empty()) {  // the first of its sender and receiver
        const Sent picked = job.between.sent[static_cast<size_t>(below(std::ssize(job.between.sent)))];
        const auto first = std::ranges::find_if(job.between.sent, [&](const Sent& sent) {
          return sent.from == picked.from && sent.to == picked.to;
        });
        const Sent sent = *first;
        job.between.sent.erase(first);
        if (!std::holds_alternative<Report>(sent.message.body))
          job.worker(sent.to).receive(0, sent.from, sent.message);
      } else {
        for (const Node::Rows& rows : job.node(n).borrows)
          if (below(2)) job.between.rows_here.insert({rows.node, rows.number});
        job.worker(n).poll(0);
      }
    }
    ASSERT_TRUE(all_closed()) << "trial " << trial;
    for (const int times : starts) ASSERT_EQ(times, 1);
    for (const auto& node : job.all) {
      ASSERT_EQ(node->entered, 1);
      moved += node->worker.moved().given - node->worker.moved().taken;
    }
    for (const auto& node : job.all) moved += node->worker.moved().taken;
  }
  EXPECT_GT(moved, 1000);
}

}  // namespace
}  // namespace lepton::balance
