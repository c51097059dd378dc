// SPDX-License-Identifier: Apache-2.0
// Memory plans of random lives: nothing that lives together overlaps, everything is aligned and inside, and
// what need not live together shares.
#include "model/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace lepton::model {

namespace {

void expect_valid(const std::vector<LiveRange>& ranges, const MemoryPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), ranges.size());
  for (size_t a = 0; a < ranges.size(); ++a) {
    EXPECT_EQ(plan.offsets[a] % 64, 0U);
    EXPECT_LE(plan.offsets[a] + ranges[a].bytes, plan.bytes);
    for (size_t b = 0; b < a; ++b) {
      const bool together = ranges[a].begin <= ranges[b].end && ranges[b].begin <= ranges[a].end;
      const bool apart = plan.offsets[a] + ranges[a].bytes <= plan.offsets[b] ||
                         plan.offsets[b] + ranges[b].bytes <= plan.offsets[a];
      EXPECT_TRUE(!together || apart) << a << " and " << b;
    }
  }
}

/// The most bytes that live at one time: no plan can do with less.
size_t most_alive(const std::vector<LiveRange>& ranges) {
  size_t most = 0;
  for (const LiveRange& at : ranges) {
    size_t bytes = 0;
    for (const LiveRange& range : ranges)
      if (range.begin <= at.begin && at.begin <= range.end) bytes += (range.bytes + 63) / 64 * 64;
    most = std::max(most, bytes);
  }
  return most;
}

}  // namespace

TEST(MemoryPlan, NothingThatLivesTogetherOverlaps) {
  std::mt19937 random(1);
  double worst = 1;
  for (int trial = 0; trial < 2000; ++trial) {
    const int count = static_cast<int>(random() % 40) + 1, times = static_cast<int>(random() % 30) + 1;
    std::vector<LiveRange> ranges;
    for (int i = 0; i < count; ++i) {
      const int begin = static_cast<int>(random() % static_cast<unsigned>(times));
      const int end = begin + static_cast<int>(random() % static_cast<unsigned>(times - begin));
      ranges.push_back({random() % 5 == 0 ? 0 : random() % 5000, begin, end});
    }
    const MemoryPlan plan = plan_memory(ranges);
    expect_valid(ranges, plan);
    const size_t least = most_alive(ranges);
    EXPECT_GE(plan.bytes, least);
    if (least > 0) worst = std::max(worst, static_cast<double>(plan.bytes) / static_cast<double>(least));
  }
  EXPECT_LT(worst, 1.6);
}

TEST(MemoryPlan, ChainsNeedTwoPlacesOnly) {
  std::vector<LiveRange> ranges;
  for (int i = 0; i < 50; ++i) ranges.push_back({1024, i, i + 1});
  EXPECT_EQ(plan_memory(ranges).bytes, 2048U);
}

TEST(MemoryPlan, NoRangesNoBytes) {
  EXPECT_EQ(plan_memory({}).bytes, 0U);
  const std::vector<LiveRange> empty = {{0, 0, 3}};
  EXPECT_EQ(plan_memory(empty).bytes, 0U);
}

TEST(MemoryPlan, TakesTheTightestGap) {
  // Big A and B leave gaps of 256 and 128 bytes at time 1; the last range fits the smaller one.
  const std::vector<LiveRange> ranges = {{1024, 0, 9}, {256, 0, 0}, {512, 0, 9},
                                         {128, 0, 0},  {384, 0, 9}, {128, 1, 1}};
  const MemoryPlan plan = plan_memory(ranges);
  expect_valid(ranges, plan);
  EXPECT_EQ(plan.bytes, 1024U + 512 + 384 + 256 + 128);
}

}  // namespace lepton::model
