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
  EXPECT_EQ(queue.take(), -1);
  EXPECT_EQ(queue.take(), -1);
}

TEST(UnitQueue, GivesUnitsInOrderAndIsThenDry) {
  UnitQueue queue;
  queue.fill(3, 6);
  EXPECT_EQ(queue.take(), 3);
  EXPECT_EQ(queue.take(), 4);
  EXPECT_EQ(queue.take(), 5);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(queue.take(), -1);
}

TEST(UnitQueue, EmptySharesAreDry) {
  UnitQueue queue;
  queue.fill(5, 5);
  EXPECT_EQ(queue.take(), -1);
}

TEST(UnitQueue, CanBeFilledAgain) {
  UnitQueue queue;
  queue.fill(10, 11);
  EXPECT_EQ(queue.take(), 10);
  EXPECT_EQ(queue.take(), -1);
  queue.fill(0, 2);  // behind where it was: another round
  EXPECT_EQ(queue.take(), 0);
  EXPECT_EQ(queue.take(), 1);
  EXPECT_EQ(queue.take(), -1);
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
        queue.fill(begin, begin + units);
      }
      barrier.arrive_and_wait();
      for (int64_t unit; (unit = queue.take()) >= 0;) ++taken[unit - begin];
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
