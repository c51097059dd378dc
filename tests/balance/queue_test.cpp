// SPDX-License-Identifier: Apache-2.0
// The node's queue (header only): each unit is taken once, in order, by whatever thread, round after round;
// the leader gives units away from the back and appends others, while threads take.
#include "balance/queue.h"

#include <gtest/gtest.h>

#include <barrier>
#include <numeric>
#include <thread>
#include <vector>

#include "base/philox.h"

namespace lepton::balance {
namespace {

using Units = std::vector<int32_t>;

/// A queue and the memory that it lies in.
struct OwnQueue {
  explicit OwnQueue(size_t units_max = 100) : list(units_max) {}
  UnitQueueState state;
  std::vector<int32_t> list;
  UnitQueue queue{state, list};
};

Units units(std::span<const int32_t> span) {
  return {span.begin(), span.end()};
}

/// Everything that is left, one by one.
Units drained(UnitQueue& queue) {
  Units all;
  for (std::span<const int32_t> unit; !(unit = queue.take()).empty();) all.push_back(unit[0]);
  return all;
}

TEST(UnitQueue, ZeroedMemoryIsAnEmptyOpenQueue) {
  OwnQueue own;
  EXPECT_TRUE(own.queue.take().empty());
  EXPECT_TRUE(own.queue.take_back(3).empty());
  EXPECT_TRUE(own.queue.take().empty());
  EXPECT_FALSE(own.queue.closed());
  EXPECT_EQ(own.queue.left(), 0);
}

TEST(UnitQueue, GivesUnitsInOrderAndIsThenDry) {
  OwnQueue own;
  own.queue.fill({3, 6});
  EXPECT_EQ(units(own.queue.take()), Units{3});
  EXPECT_EQ(units(own.queue.take()), Units{4});
  EXPECT_EQ(own.queue.started(), 2);
  EXPECT_EQ(units(own.queue.take()), Units{5});
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(own.queue.take().empty());
  EXPECT_EQ(own.queue.started(), 3);
  EXPECT_EQ(units(own.queue.list().first(3)), (Units{3, 4, 5}));
}

TEST(UnitQueue, GivesSeveralOrWhatIsLeft) {
  OwnQueue own;
  own.queue.fill({3, 10});
  EXPECT_EQ(own.queue.size(), 7);
  EXPECT_EQ(own.queue.left(), 7);
  EXPECT_EQ(units(own.queue.take(4)), (Units{3, 4, 5, 6}));
  EXPECT_EQ(own.queue.left(), 3);
  EXPECT_EQ(units(own.queue.take(4)), (Units{7, 8, 9}));
  EXPECT_TRUE(own.queue.take(4).empty());
  EXPECT_EQ(own.queue.left(), 0);
  EXPECT_EQ(own.queue.size(), 7);
}

TEST(UnitQueue, TheBackIsGivenAwayAndNeverWhatWasTaken) {
  OwnQueue own;
  own.queue.fill({0, 6});
  EXPECT_EQ(units(own.queue.take(2)), (Units{0, 1}));
  EXPECT_EQ(units(own.queue.take_back(3)), (Units{3, 4, 5}));
  EXPECT_EQ(own.queue.left(), 1);
  EXPECT_EQ(own.queue.started(), 2);  // what is given away was not started here
  EXPECT_EQ(units(own.queue.take_back(3)), Units{2});
  EXPECT_TRUE(own.queue.take_back(3).empty());
  EXPECT_TRUE(own.queue.take().empty());
  EXPECT_EQ(own.queue.size(), 6);
}

TEST(UnitQueue, WhatIsAppendedComesLastAndCanBeGivenOn) {
  OwnQueue own;
  own.queue.fill({0, 3}, true);
  EXPECT_EQ(units(own.queue.take()), Units{0});
  own.queue.append(Units{40, 17});
  EXPECT_EQ(own.queue.left(), 4);
  EXPECT_EQ(units(own.queue.take_back(1)), Units{17});
  EXPECT_EQ(units(own.queue.take_back(2)), (Units{2, 40}));
  own.queue.append(Units{5});
  EXPECT_EQ(drained(own.queue), (Units{1, 5}));
  own.queue.append(Units{});
  EXPECT_TRUE(own.queue.take().empty());
  own.queue.append(Units{7});  // a dry queue is runnable again
  EXPECT_EQ(drained(own.queue), (Units{7}));
  EXPECT_EQ(own.queue.started(), 4);
  EXPECT_EQ(units(own.queue.list().first(4)), (Units{0, 1, 5, 7}));
}

TEST(UnitQueue, HasRoomForAllUnitsOfARoundWhateverCameAndWent) {
  OwnQueue own(4);
  own.queue.fill({0, 4}, true);
  for (int i = 0; i < 1000; ++i) {  // two go and come back, for ever
    const Units given = units(own.queue.take_back(2));
    ASSERT_EQ(given, (Units{2, 3}));
    own.queue.append(given);
  }
  EXPECT_EQ(drained(own.queue), (Units{0, 1, 2, 3}));
}

TEST(UnitQueue, IsClosedUnlessItIsOpened) {
  OwnQueue own;
  own.queue.fill({0, 1});
  EXPECT_TRUE(own.queue.closed());
  own.queue.fill({0, 1}, true);
  EXPECT_FALSE(own.queue.closed());
  EXPECT_EQ(drained(own.queue), Units{0});
  EXPECT_FALSE(own.queue.closed());  // dry is not closed
  own.queue.close();
  EXPECT_TRUE(own.queue.closed());
}

TEST(UnitQueue, CountsWhatIsDoneUntilItIsFilledAgain) {
  OwnQueue own;
  own.queue.fill({0, 9});
  own.queue.count_done(2, 300);
  own.queue.count_done(1, 50);
  EXPECT_EQ(own.queue.done(), 3);
  EXPECT_EQ(own.queue.busy_ns(), 350);
  own.queue.fill({0, 9});
  EXPECT_EQ(own.queue.done(), 0);
  EXPECT_EQ(own.queue.busy_ns(), 0);
  EXPECT_EQ(own.queue.started(), 0);
}

TEST(UnitQueue, EmptySharesAreDry) {
  OwnQueue own;
  own.queue.fill({5, 5});
  EXPECT_TRUE(own.queue.take().empty());
}

TEST(UnitQueue, CanBeFilledAgain) {
  OwnQueue own;
  own.queue.fill({10, 11});
  EXPECT_EQ(drained(own.queue), Units{10});
  own.queue.fill({0, 2});  // another round
  EXPECT_EQ(drained(own.queue), (Units{0, 1}));
}

TEST(UnitsInHand, LargeFirstAndSingleUnitsAtTheEnd) {
  EXPECT_EQ(units_in_hand(4, 4, 2, 4, true), 2);  // all of a share of two
  EXPECT_EQ(units_in_hand(4, 2, 2, 4, true), 2);  // the second thread's too
  EXPECT_EQ(units_in_hand(3, 3, 2, 4, true), 1);
  EXPECT_EQ(units_in_hand(16, 16, 2, 4, true), 4);
  EXPECT_EQ(units_in_hand(16, 8, 2, 4, false), 4);
  EXPECT_EQ(units_in_hand(16, 5, 2, 4, false), 2);
  EXPECT_EQ(units_in_hand(16, 3, 2, 4, false), 1);
  EXPECT_EQ(units_in_hand(16, 0, 2, 4, false), 1);
  EXPECT_EQ(units_in_hand(8, 8, 2, 4, true), 2);
  EXPECT_EQ(units_in_hand(100, 100, 2, 1, true), 1);
  EXPECT_EQ(units_in_hand(2, 2, 8, 4, true), 1);
}

TEST(UnitsInHand, SinglyWhereOthersMayWantThem) {
  EXPECT_EQ(units_in_hand(16, 16, 2, 4, true, true), 1);
  EXPECT_EQ(units_in_hand(16, 8, 2, 4, false, true), 1);
  EXPECT_EQ(units_in_hand(16, 0, 1, 4, false, true), 1);
}

TEST(UnitQueue, IsTakenSinglyOnceSaidAndUntilFilled) {
  OwnQueue own;
  own.queue.fill({0, 4});
  EXPECT_FALSE(own.queue.singly());
  own.queue.take_singly();
  EXPECT_TRUE(own.queue.singly());
  own.queue.fill({0, 4});
  EXPECT_FALSE(own.queue.singly());
}

TEST(UnitQueue, ThreadsTakeEachUnitOnce) {
  constexpr int thread_count = 8, rounds = 200;
  constexpr int64_t count = 97;
  OwnQueue own(count);
  std::vector<std::atomic<int>> taken(count);
  int64_t begin = 0;
  std::barrier barrier(thread_count);
  bool each_once = true;
  const auto work = [&](int thread) {
    for (int round = 0; round < rounds; ++round) {
      if (thread == 0) {
        begin = round * 13;
        for (auto& times : taken) times = 0;
        own.queue.fill({begin, begin + count});
      }
      barrier.arrive_and_wait();
      for (std::span<const int32_t> some; !(some = own.queue.take(1 + thread % 3)).empty();)
        for (const int32_t unit : some) ++taken[unit - begin];
      barrier.arrive_and_wait();
      if (thread == 0)
        for (const auto& times : taken) each_once = each_once && times == 1;
      barrier.arrive_and_wait();
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < thread_count; ++thread) threads.emplace_back(work, thread);
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(each_once);
}

/// Threads take as fast as they can while the leader gives units away and brings others, some of them those
/// that it gave away: every unit that was ever here is taken once, or is away at the end.
TEST(UnitQueue, ThreadsTakeWhileTheLeaderGivesAndAppends) {
  constexpr int takers = 3, rounds = 300;
  constexpr int32_t planned = 400, all = 600;  // [planned, all) come from elsewhere
  OwnQueue own(all);
  std::vector<std::atomic<int>> taken(all);
  std::barrier barrier(takers + 1);
  const auto take = [&](int thread) {
    for (int round = 0; round < rounds; ++round) {
      barrier.arrive_and_wait();
      while (!own.queue.closed() || own.queue.left() > 0)
        for (const int32_t unit : own.queue.take(1 + thread)) ++taken[static_cast<size_t>(unit)];
      barrier.arrive_and_wait();
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < takers; ++thread) threads.emplace_back(take, thread);
  for (int round = 0; round < rounds; ++round) {
    uint64_t random = mix64(static_cast<uint64_t>(round));
    for (auto& times : taken) times = 0;
    Units away(all - planned);
    std::iota(away.begin(), away.end(), planned);
    own.queue.fill({0, planned}, true);
    barrier.arrive_and_wait();
    for (int turn = 0; turn < 60; ++turn) {
      random = mix64(random);
      const auto count = static_cast<int64_t>(random % 13);
      if (random >> 32 & 1) {
        const Units given = units(own.queue.take_back(count));
        EXPECT_LE(std::ssize(given), count);
        away.insert(away.begin(), given.begin(), given.end());
      } else {
        const auto some = std::min(count, std::ssize(away));
        own.queue.append(std::span<const int32_t>(away).last(static_cast<size_t>(some)));
        away.resize(away.size() - static_cast<size_t>(some));
      }
    }
    own.queue.close();
    barrier.arrive_and_wait();
    for (const int32_t unit : away) ++taken[static_cast<size_t>(unit)];
    for (int32_t unit = 0; unit < all; ++unit) ASSERT_EQ(taken[static_cast<size_t>(unit)], 1) << unit;
    ASSERT_EQ(own.queue.started(), all - std::ssize(away));
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace lepton::balance
