// SPDX-License-Identifier: Apache-2.0
// The node's queue (header only): each unit is taken once, in order, by whatever thread, round after round.
#include "balance/queue.h"

#include <gtest/gtest.h>

#include <array>
#include <barrier>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace lepton::balance {
namespace {

TEST(UnitQueue, ZeroedMemoryIsAnEmptyQueue) {
  alignas(64) std::array<std::byte, sizeof(UnitQueue)> memory{};
  auto& queue = *reinterpret_cast<UnitQueue*>(memory.data());
  EXPECT_TRUE(queue.take().empty());
  EXPECT_TRUE(queue.take().empty());
}

TEST(UnitQueue, GivesUnitsInOrderAndIsThenDry) {
  UnitQueue queue;
  queue.fill({3, 6});
  EXPECT_EQ(queue.take(), (UnitRange{3, 4}));
  EXPECT_EQ(queue.take(), (UnitRange{4, 5}));
  EXPECT_EQ(queue.take(), (UnitRange{5, 6}));
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(queue.take().empty());
}

TEST(UnitQueue, GivesSeveralOrWhatIsLeft) {
  UnitQueue queue;
  queue.fill({3, 10});
  EXPECT_EQ(queue.size(), 7);
  EXPECT_EQ(queue.left(), 7);
  EXPECT_EQ(queue.take(4), (UnitRange{3, 7}));
  EXPECT_EQ(queue.left(), 3);
  EXPECT_EQ(queue.take(4), (UnitRange{7, 10}));
  EXPECT_TRUE(queue.take(4).empty());
  EXPECT_EQ(queue.left(), 0);
  EXPECT_EQ(queue.size(), 7);
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

TEST(UnitQueue, EmptySharesAreDry) {
  UnitQueue queue;
  queue.fill({5, 5});
  EXPECT_TRUE(queue.take().empty());
}

TEST(UnitQueue, CanBeFilledAgain) {
  UnitQueue queue;
  queue.fill({10, 11});
  EXPECT_EQ(queue.take(), (UnitRange{10, 11}));
  EXPECT_TRUE(queue.take().empty());
  queue.fill({0, 2});  // behind where it was: another round
  EXPECT_EQ(queue.take(), (UnitRange{0, 1}));
  EXPECT_EQ(queue.take(), (UnitRange{1, 2}));
  EXPECT_TRUE(queue.take().empty());
}

TEST(UnitQueue, ThreadsTakeEachUnitOnce) {
  constexpr int thread_count = 8, rounds = 200;
  constexpr int64_t units = 97;
  UnitQueue queue;
  std::vector<std::atomic<int>> taken(units);
  int64_t begin = 0;
  std::barrier barrier(thread_count);
  bool each_once = true;
  const auto work = [&](int thread) {
    for (int round = 0; round < rounds; ++round) {
      if (thread == 0) {
        begin = round * 13;
        for (auto& count : taken) count = 0;
        queue.fill({begin, begin + units});
      }
      barrier.arrive_and_wait();
      for (UnitRange range; !(range = queue.take(1 + thread % 3)).empty();)
        for (int64_t unit = range.begin; unit < range.end; ++unit) ++taken[unit - begin];
      barrier.arrive_and_wait();
      if (thread == 0)
        for (const auto& count : taken) each_once = each_once && count == 1;
      barrier.arrive_and_wait();
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < thread_count; ++thread) threads.emplace_back(work, thread);
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(each_once);
}

}  // namespace
}  // namespace lepton::balance
