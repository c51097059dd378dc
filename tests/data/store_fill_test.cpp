// SPDX-License-Identifier: Apache-2.0
// Cutting of rows: parts cover, are about equal, and begin at chunks of the largest column of their file.
#include "data/store_fill.h"

#include <gtest/gtest.h>

namespace lepton::data {
namespace {

storage::ArrayInfo array(int64_t rows, int64_t width, int64_t chunk_rows) {
  const std::string name("a");
  return {name,       name, {rows, width}, {storage::StoredType::Kind::unsigned_integer, 1, false},
          chunk_rows, false};
}

Source source_of(const std::vector<std::pair<int64_t, int64_t>>& files) {  // rows and chunk rows of each
  Source source;
  source.first_row = {0};
  source.inputs.resize(1);
  for (const auto& [rows, chunk] : files) {
    source.inputs[0].arrays.push_back(array(rows, 10, chunk));
    source.targets.resize(1);
    source.targets[0].arrays.push_back(array(rows, 1, 3));  // the smaller column does not count
    source.first_row.push_back(source.first_row.back() + rows);
  }
  return source;
}

TEST(CutRows, CoversInOrder) {
  for (const int64_t chunk : {0, 1, 7, 64, 1000})
    for (const int64_t begin : {0, 5, 99})
      for (const int64_t end : {99, 100, 101, 700})
        for (int parts = 1; parts < 12; ++parts) {
          const auto begins = cut_rows(source_of({{400, chunk}, {300, chunk}}), begin, end, parts);
          ASSERT_EQ(begins.size(), static_cast<size_t>(parts) + 1);
          ASSERT_EQ(begins.front(), begin);
          ASSERT_EQ(begins.back(), end);
          for (size_t i = 1; i < begins.size(); ++i) ASSERT_LE(begins[i - 1], begins[i]);
        }
}

TEST(CutRows, AtChunksOfTheFile) {
  EXPECT_EQ(cut_rows(source_of({{1000, 256}}), 0, 1000, 2), (std::vector<int64_t>{0, 512, 1000}));
  EXPECT_EQ(cut_rows(source_of({{1000, 256}}), 0, 1000, 3), (std::vector<int64_t>{0, 256, 768, 1000}));
  EXPECT_EQ(cut_rows(source_of({{1000, 0}}), 0, 1000, 4), (std::vector<int64_t>{0, 250, 500, 750, 1000}));
  // The second file's chunks count from its own beginning.
  EXPECT_EQ(cut_rows(source_of({{103, 100}, {1000, 100}}), 0, 1103, 2), (std::vector<int64_t>{0, 503, 1103}));
  // Chunks of flat values hold elements, not rows.
  Source flat = source_of({{1000, 256}});
  flat.inputs[0].by_offsets = true;
  flat.inputs[0].length = 10;
  flat.inputs[0].extents.push_back(array(1001, 1, 0));
  EXPECT_EQ(cut_rows(flat, 0, 1000, 2), (std::vector<int64_t>{0, 500, 1000}));
  // Chunks longer than a part cannot be kept together.
  EXPECT_EQ(cut_rows(source_of({{1000, 1000}}), 0, 1000, 4), (std::vector<int64_t>{0, 250, 500, 750, 1000}));
}

}  // namespace
}  // namespace lepton::data
