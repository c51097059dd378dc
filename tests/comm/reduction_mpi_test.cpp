// SPDX-License-Identifier: Apache-2.0
// The collectives of a step's end against sums computed locally: every cut into nodes, pieces from one word
// up, empty slices, wrap-around; and that nothing is allocated after the first time.
#include "comm/reduction.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/waiting.h"
#include "comm/worlds.h"

namespace lepton::comm {
namespace {

/// What node `node` holds at element i of trial `trial`; large, so that sums wrap around.
int64_t held(int node, int64_t i, int trial) {
  return static_cast<int64_t>(
      mix64(mix64(static_cast<uint64_t>(i) * 64 + node) + static_cast<uint64_t>(trial)));
}

/// Offsets of the nodes' parts of `count` elements; some parts may be empty.
std::vector<int64_t> random_offsets(Random& random, int nodes, int64_t count) {
  std::vector<int64_t> offsets = {0, count};
  while (static_cast<int>(offsets.size()) < nodes + 1) offsets.push_back(random.below(count + 1));
  std::sort(offsets.begin(), offsets.end());
  return offsets;
}

TEST(ReduceScatter, GivesTheSumOfAllNodes) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    Random random(static_cast<uint64_t>(world.nodes()));
    for (const size_t piece_bytes : {size_t{8}, size_t{1000}, size_t{4096}, size_t{512} << 10}) {
      LeaderReduction reduction(world, piece_bytes);
      for (int trial = 0; trial < 5; ++trial) {
        const int64_t count = random.below(piece_bytes == 8 ? 300 : 30'000);
        const std::vector<int64_t> offsets = random_offsets(random, world.nodes(), count);
        std::vector<int64_t> sums(static_cast<size_t>(count));
        for (int64_t i = 0; i < count; ++i) sums[i] = held(world.node(), i, trial);
        reduction.reduce_scatter(sums, offsets, {});
        for (int64_t i = offsets[world.node()]; i < offsets[world.node() + 1]; ++i) {
          uint64_t expected = 0;
          for (int node = 0; node < world.nodes(); ++node)
            expected += static_cast<uint64_t>(held(node, i, trial));
          ASSERT_EQ(static_cast<uint64_t>(sums[i]), expected) << "element " << i;
        }
      }
    }
  });
}

TEST(AllGather, GivesEverybodyAllParts) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    Random random(77);
    for (const size_t piece_bytes : {size_t{8}, size_t{4096}}) {
      LeaderReduction reduction(world, piece_bytes);
      for (int trial = 0; trial < 5; ++trial) {
        const int64_t count = random.below(3000);
        const std::vector<int64_t> offsets = random_offsets(random, world.nodes(), count);
        std::vector<float> values(static_cast<size_t>(count), -1);
        for (int64_t i = offsets[world.node()]; i < offsets[world.node() + 1]; ++i)
          values[i] = static_cast<float>(i + trial);
        reduction.all_gather(std::as_writable_bytes(std::span(values)), offsets, sizeof(float), {});
        for (int64_t i = 0; i < count; ++i) ASSERT_EQ(values[i], static_cast<float>(i + trial)) << i;
      }
    }
  });
}

TEST(AllReduce, AddsTheFirstAndTakesTheMaximumOfTheRest) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    LeaderReduction reduction(world);
    for (const size_t count : {size_t{1}, size_t{100}, size_t{100}, size_t{20'000}, size_t{0}}) {
      for (const size_t sums : {count / 2, count, size_t{0}}) {
        std::vector<int64_t> lanes(count);
        for (size_t i = 0; i < count; ++i) lanes[i] = held(world.node(), static_cast<int64_t>(i), 3);
        reduction.all_reduce(lanes, sums, {});
        for (size_t i = 0; i < count; ++i) {
          uint64_t sum = 0;
          int64_t largest = INT64_MIN;
          for (int node = 0; node < world.nodes(); ++node) {
            const int64_t value = held(node, static_cast<int64_t>(i), 3);
            sum += static_cast<uint64_t>(value);
            largest = std::max(largest, value);
          }
          ASSERT_EQ(lanes[i], i < sums ? static_cast<int64_t>(sum) : largest) << i;
        }
      }
    }
  });
}

TEST(Reduction, PollsWhileItWaits) {
  const World world(60, 1);
  LeaderReduction reduction(world);
  int polls = 0;
  const auto poll = [&] { ++polls; };
  std::vector<int64_t> sums(100'000, 1);
  std::vector<int64_t> offsets(static_cast<size_t>(world.nodes()) + 1, 0);
  offsets.back() = 100'000;
  reduction.reduce_scatter(sums, offsets, poll);
  reduction.all_reduce(sums, 5, poll);
  EXPECT_EQ(polls > 0, world.nodes() > 1);
}

TEST(Reduction, OffsetsOfAnotherShapeAreABug) {
  const World world(60, 1);
  LeaderReduction reduction(world);
  std::vector<int64_t> sums(10);
  std::vector<int64_t> offsets(static_cast<size_t>(world.nodes()) + 2, 0);
  EXPECT_THROW(reduction.reduce_scatter(sums, offsets, {}), Error);
  offsets.pop_back();
  offsets.back() = 11;
  EXPECT_THROW(reduction.reduce_scatter(sums, offsets, {}), Error);
  EXPECT_THROW(reduction.all_reduce(sums, 11, {}), Error);
}

}  // namespace
}  // namespace lepton::comm
