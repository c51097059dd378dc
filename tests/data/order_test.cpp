// SPDX-License-Identifier: Apache-2.0
// Orders are bijections for every N, depend on seed and epoch, and `window` keeps samples near each other.
#include "data/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/philox.h"

namespace lepton::data {
namespace {

TEST(Permutation, BijectionForManySizes) {
  for (int64_t n = 1; n <= 300; ++n)
    for (const uint64_t key : {0ull, 1ull, ~0ull}) {
      const Permutation permutation(key, n);
      std::vector<bool> seen(static_cast<size_t>(n));
      for (int64_t i = 0; i < n; ++i) {
        const int64_t image = permutation(i);
        ASSERT_TRUE(image >= 0 && image < n && !seen[static_cast<size_t>(image)]) << n << " " << i;
        seen[static_cast<size_t>(image)] = true;
        ASSERT_EQ(permutation.inverse(image), i);
      }
    }
}

TEST(Permutation, LargeSizes) {
  for (const int64_t n : {int64_t{60000}, int64_t{1} << 20, (int64_t{1} << 20) + 1}) {
    const Permutation permutation(7, n);
    std::vector<bool> seen(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) seen[static_cast<size_t>(permutation(i))] = true;
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), n);
  }
  for (const int64_t n : {int64_t{1'000'000'007}, int64_t{1} << 40, (int64_t{1} << 61) + 12345}) {
    const Permutation permutation(7, n);
    for (int64_t i = 0; i < n; i += n / 1000 + 1) {
      const int64_t image = permutation(i);
      ASSERT_TRUE(image >= 0 && image < n);
      ASSERT_EQ(permutation.inverse(image), i);
    }
  }
}

TEST(Permutation, ImagesAreSpread) {
  // Index and image are uncorrelated: |r| < 5 / sqrt(n); and fixed points are few (1 expected).
  const int64_t n = 100000;
  for (uint64_t key = 0; key < 5; ++key) {
    const Permutation permutation(key, n);
    double sum = 0;
    int fixed = 0;
    const double middle = static_cast<double>(n - 1) / 2;
    for (int64_t i = 0; i < n; ++i) {
      sum += (static_cast<double>(i) - middle) * (static_cast<double>(permutation(i)) - middle);
      fixed += permutation(i) == i;
    }
    const double variance = (static_cast<double>(n) * static_cast<double>(n) - 1) / 12;
    EXPECT_LT(std::abs(sum / static_cast<double>(n) / variance), 5 / std::sqrt(static_cast<double>(n)));
    EXPECT_LT(fixed, 10);
  }
}

std::vector<int64_t> epoch_of(const EpochOrder& order, int64_t epoch) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < order.samples(); ++i) ids.push_back(order.sample(epoch, i));
  return ids;
}

bool is_permutation_of_all(std::vector<int64_t> ids) {
  std::sort(ids.begin(), ids.end());
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] != static_cast<int64_t>(i)) return false;
  return true;
}

TEST(EpochOrder, EveryEpochUsesEverySampleOnce) {
  for (const Shuffle shuffle : {Shuffle::global, Shuffle::window, Shuffle::none})
    for (const int64_t n : {1, 2, 3, 7, 8, 64, 100, 999})
      for (const int64_t block : {1, 4, 7, 64, 5000})
        for (const int64_t window : {1, 8, 30, 200, 10000}) {
          const EpochOrder order(shuffle, 3, n, window, block);
          for (int64_t epoch = 0; epoch < 3; ++epoch)
            ASSERT_TRUE(is_permutation_of_all(epoch_of(order, epoch))) << n << " " << block << " " << window;
        }
}

TEST(EpochOrder, SeedAndEpochMatter) {
  for (const Shuffle shuffle : {Shuffle::global, Shuffle::window}) {
    const EpochOrder a(shuffle, 1, 1000, 100, 10), again(shuffle, 1, 1000, 100, 10),
        b(shuffle, 2, 1000, 100, 10);
    EXPECT_EQ(epoch_of(a, 5), epoch_of(again, 5));
    EXPECT_NE(epoch_of(a, 0), epoch_of(a, 1));
    EXPECT_NE(epoch_of(a, 0), epoch_of(b, 0));
  }
  const EpochOrder none(Shuffle::none, 1, 10, 4, 2);
  EXPECT_EQ(epoch_of(none, 3), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(EpochOrder, PinnedForEver) {
  // The order is a mathematical key: a change here changes every result.
  const EpochOrder order(Shuffle::global, 7, 60000, 0, 0);
  const std::vector<int64_t> first = {order.sample(0, 0), order.sample(0, 1), order.sample(0, 2),
                                      order.sample(1, 0)};
  EXPECT_EQ(first, (std::vector<int64_t>{36365, 5321, 20633, 46155}));
}

TEST(EpochOrder, WindowHoldsItsOwnBlocksAndShufflesInside) {
  for (const int64_t n : {1000, 1003}) {  // with 1,003 a short block shifts the windows behind it
    const int64_t block = 10, window = 100;
    const EpochOrder order(Shuffle::window, 9, n, window, block);
    const auto ids = epoch_of(order, 0);
    std::set<int64_t> all_blocks;
    for (int64_t begin = 0; begin + window <= n; begin += window) {
      std::set<int64_t> blocks;
      int64_t neighbours = 0;
      for (int64_t i = begin; i < begin + window; ++i) {
        blocks.insert(ids[static_cast<size_t>(i)] / block);
        neighbours +=
            i > begin && ids[static_cast<size_t>(i)] / block == ids[static_cast<size_t>(i) - 1] / block;
      }
      EXPECT_LE(blocks.size(), n == 1000 ? 10u : 20u);
      EXPECT_LT(neighbours, window / 3) << "samples of different blocks are mixed";
      all_blocks.insert(blocks.begin(), blocks.end());
    }
    EXPECT_GE(all_blocks.size(), 100u);
    EXPECT_NE(ids[0] / block, 0) << "blocks are permuted (for this seed)";
  }
}

}  // namespace
}  // namespace lepton::data
