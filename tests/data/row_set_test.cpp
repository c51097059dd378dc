// SPDX-License-Identifier: Apache-2.0
// RowSet against std::set, over the borders of words and blocks.
#include "data/row_set.h"

#include <gtest/gtest.h>

#include <set>

#include "base/philox.h"

namespace lepton::data {
namespace {

void expect_holds(const RowSet& set, const std::set<int64_t>& rows) {
  ASSERT_EQ(set.size(), std::ssize(rows));
  int64_t index = 0;
  for (const int64_t row : rows) ASSERT_EQ(set[index++], row);
  for (int64_t row = -1; row <= set.rows(); ++row) ASSERT_EQ(set.contains(row), rows.contains(row)) << row;
}

TEST(RowSet, FindsItsRowsInOrder) {
  for (const int64_t rows : {1, 63, 64, 65, 511, 512, 513, 2000})
    for (const int64_t every : {1, 2, 7, 600}) {
      RowSet set(rows);
      std::set<int64_t> expected;
      for (int64_t row = 0; row < rows; ++row) {
        if (mix64(static_cast<uint64_t>(row * 31 + every)) % static_cast<uint64_t>(every) != 0) continue;
        EXPECT_TRUE(set.insert(row));
        EXPECT_FALSE(set.insert(row)) << "it is there";
        expected.insert(row);
      }
      set.settle();
      expect_holds(set, expected);
      if (expected.empty()) continue;
      EXPECT_EQ(set.front(), *expected.begin());
      EXPECT_EQ(set.back(), *expected.rbegin());
    }
}

TEST(RowSet, SparseOnesPassOverEmptyBlocks) {
  RowSet set(100'000);
  for (const int64_t row : {int64_t{0}, int64_t{70'000}, int64_t{99'999}}) set.insert(row);
  set.settle();
  expect_holds(set, {0, 70'000, 99'999});
}

TEST(RowSet, JoinsKeepsAndErases) {
  RowSet a(200), b(200);
  a.insert(10, 130);
  b.insert(120, 140);
  RowSet both = a;
  both.keep(b);
  both.settle();
  EXPECT_EQ(both.size(), 10);
  EXPECT_EQ(both.front(), 120);
  a.insert(b);
  a.erase(64);
  a.erase(64);
  a.erase(5);
  a.settle();
  EXPECT_EQ(a.size(), 129);
  EXPECT_EQ(a.back(), 139);
  EXPECT_FALSE(a.contains(64));
}

TEST(RowSet, HashIsOfTheRowsAndTheirNumber) {
  const auto hash_of = [](int64_t rows, std::vector<int64_t> members) {
    RowSet set(rows);
    for (const int64_t row : members) set.insert(row);
    return set.hash();
  };
  EXPECT_EQ(hash_of(90, {3, 80}), hash_of(90, {80, 3}));
  EXPECT_NE(hash_of(90, {3, 80}), hash_of(90, {3, 81}));
  EXPECT_NE(hash_of(90, {3, 80}), hash_of(91, {3, 80}));
  RowSet set(90);
  set.insert(3);
  EXPECT_EQ(RowSet(90, set.words()).size(), 1) << "as another rank gets it";
  EXPECT_EQ(RowSet().rows(), 0);
  EXPECT_EQ(RowSet().size(), 0);
}

}  // namespace
}  // namespace lepton::data
