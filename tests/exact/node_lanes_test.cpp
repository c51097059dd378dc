// SPDX-License-Identifier: Apache-2.0
// The node's lanes: threads merge at once, two rounds at a time, banks come back empty.
#include "exact/node_lanes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace lepton::exact {
namespace {

TEST(NodeLanes, ThreadsMergeIntoTheBankOfTheirRound) {
  const Lanes shape(2, 1, 1, 3);
  std::vector<uint64_t> memory((NodeLanes::bytes(shape) + 127) / 8);
  std::byte* aligned =
      reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  NodeLanes node(shape, {aligned, NodeLanes::bytes(shape)});
  constexpr int64_t each = 2000;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      Lanes mine(2, 1, 1, 3);
      for (int64_t i = 0; i < each; ++i) {
        mine.clear();
        mine.add_unit(1);
        mine.raise_magnitude(1, thread * each + i);
        node.add(thread % 2, mine);
      }
    });
  for (std::thread& thread : threads) thread.join();
  Lanes out(2, 1, 1, 3);
  for (const int64_t round : {0, 1}) {
    node.take(round, out);
    EXPECT_EQ(out.units(), 2 * each);
    EXPECT_EQ(out.magnitude_bits(1), (round + 3) * each - 1);
  }
  node.take(2, out);
  EXPECT_TRUE(std::ranges::equal(out.values(), Lanes(2, 1, 1, 3).values()));
}

// Rounds with and without tallies in one bank, and a thread that has none beside one that has.
TEST(NodeLanes, TalliesAreOfThoseWhoHaveSome) {
  const Lanes shape(1, 1, 1, 2, 5);
  std::vector<uint64_t> memory((NodeLanes::bytes(shape) + 127) / 8);
  std::byte* aligned =
      reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  NodeLanes node(shape, {aligned, NodeLanes::bytes(shape)});
  Lanes mine = shape, out = shape;
  const auto add = [&](int64_t round, int64_t tally) {
    mine.clear();
    mine.count(0) = 1;
    if (tally > 0) mine.tallies()[4] = tally;
    node.add(round, mine);
  };
  const auto expect_taken = [&](int64_t round, int64_t count, int64_t tally) {
    out.tallies()[4] = 1000;  // of the round before
    node.take(round, out);
    EXPECT_EQ(out.count(0), count) << round;
    EXPECT_EQ(out.tallied(), tally > 0) << round;
    EXPECT_EQ(out.values()[4], tally) << round;
  };
  for (const std::vector<int64_t>& order : {std::vector<int64_t>{0, 3, 0, 4}, {3, 0, 4}, {3, 4, 0, 0}}) {
    for (const int64_t tally : order) add(2, tally);
    expect_taken(2, std::ssize(order), 7);
    add(4, 0);
    expect_taken(4, 1, 0);  // the same bank, without tallies
    expect_taken(6, 0, 0);
  }
}

}  // namespace
}  // namespace lepton::exact
