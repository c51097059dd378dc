// SPDX-License-Identifier: Apache-2.0
// Units cover a batch, differ by at most one sample, and their sizes are foreseen; batches cover an epoch.
#include "data/batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace lepton::data {
namespace {

TEST(CutUnits, CoversTheBatchInEqualParts) {
  for (int64_t samples = 0; samples <= 130; ++samples)
    for (int64_t unit = 1; unit <= 70; ++unit) {
      const auto begins = cut_units(samples, unit);
      ASSERT_EQ(static_cast<int64_t>(begins.size()), (samples + unit - 1) / unit + 1);
      ASSERT_EQ(begins.front(), 0);
      ASSERT_EQ(begins.back(), samples);
      std::vector<int64_t> sizes;
      for (size_t i = 1; i < begins.size(); ++i) sizes.push_back(begins[i] - begins[i - 1]);
      ASSERT_TRUE(std::is_sorted(sizes.rbegin(), sizes.rend())) << "larger first";
      if (!sizes.empty()) {
        ASSERT_LE(sizes.front() - sizes.back(), 1);
        ASSERT_LE(sizes.front(), unit);
      }
    }
  EXPECT_EQ(cut_units(96, 64), (std::vector<int64_t>{0, 48, 96}));
}

TEST(UnitSizes, AreThoseThatOccur) {
  for (const int64_t n : {1, 5, 60000, 1797, 257})
    for (const int64_t batch : {1, 64, 256, 100000})
      for (const int64_t unit : {1, 10, 64}) {
        std::set<int64_t> expected;
        const BatchPlan plan(EpochOrder(Shuffle::none, 0, n, 0, 0), batch);
        for (int64_t step = 0; step < plan.steps_per_epoch(); ++step) {
          const auto begins = cut_units(plan.samples(step), unit);
          for (size_t i = 1; i < begins.size(); ++i) expected.insert(begins[i] - begins[i - 1]);
        }
        ASSERT_EQ(unit_sizes_occurring(n, batch, unit),
                  std::vector<int64_t>(expected.begin(), expected.end()));
      }
}

TEST(BatchPlan, EpochsAreCoveredTheShortBatchIncluded) {
  const EpochOrder order(Shuffle::global, 5, 103, 0, 0);
  const BatchPlan plan(order, 10);
  EXPECT_EQ(plan.steps_per_epoch(), 11);
  EXPECT_EQ(plan.largest(), 10);
  std::vector<int64_t> ids;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::set<int64_t> seen;
    for (int64_t step = epoch * 11; step < (epoch + 1) * 11; ++step) {
      EXPECT_EQ(plan.epoch(step), epoch);
      plan.ids(step, ids);
      ASSERT_EQ(static_cast<int64_t>(ids.size()), step % 11 == 10 ? 3 : 10);
      for (size_t i = 0; i < ids.size(); ++i)
        EXPECT_EQ(ids[i], order.sample(epoch, plan.first_position(step) + static_cast<int64_t>(i)));
      seen.insert(ids.begin(), ids.end());
    }
    EXPECT_EQ(seen.size(), 103u);
  }
}

TEST(BatchPlan, BatchLargerThanTheDataset) {
  const BatchPlan plan(EpochOrder(Shuffle::none, 0, 7, 0, 0), 100);
  EXPECT_EQ(plan.steps_per_epoch(), 1);
  EXPECT_EQ(plan.largest(), 7);
}

}  // namespace
}  // namespace lepton::data
