// SPDX-License-Identifier: Apache-2.0
// Rows with lengths of their own, padded or flat, over several files, cut and filled up.
#include "data/ragged_reader.h"

#include <gtest/gtest.h>

#include "data/dataset_files.h"
#include "data/stored_rows.h"
#include "errors.h"
#include "storage/scratch.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

constexpr StoredType u16{StoredType::Kind::unsigned_integer, 2, false};

/// Rows {1, 2}, {}, {3, 4, 5} in one file and {6} in the next; behind padded rows stand 99s.
class RaggedReaderTest : public ::testing::Test {
 protected:
  RaggedReaderTest() {
    make_hdf5(a, {{"padded", u16, {3, 3}, {1, 2, 99, 99, 99, 99, 3, 4, 5}},
                  {"lengths", i32, {3}, {2, 0, 3}},
                  {"flat", u16, {7}, {99, 1, 2, 3, 4, 5, 99}},
                  {"offsets", i32, {4}, {1, 3, 3, 6}}});
    make_hdf5(b, {{"padded", u16, {1, 2}, {6, 99}},
                  {"lengths", i32, {1}, {1}},
                  {"flat", u16, {1}, {6}},
                  {"offsets", i32, {2}, {0, 1}}});
  }
  Source open(const std::vector<InputArrays>& inputs, int64_t length = 0) {
    Source source = open_source({a, b}, {inputs, {}});
    if (length > 0) source.inputs[0].length = length;
    return source;
  }
  static std::vector<std::byte> rows_of(const Column& column, int64_t begin, int64_t end,
                                        int64_t* cut = nullptr) {
    RaggedReader reader(column);
    std::vector<std::byte> rows(static_cast<size_t>(end - begin) * column.row_bytes());
    reader.read(begin, end, rows);
    if (cut) *cut = reader.cut();
    return rows;
  }
  static std::vector<std::byte> expected(const std::vector<std::vector<double>>& rows, size_t steps) {
    std::vector<std::byte> bytes;
    for (std::vector<double> row : rows) {
      const auto length = static_cast<double>(row.size());
      row.resize(steps, 0);
      for (const auto& part : {stored_bytes(u16, row), stored_bytes(i32, {length})})
        bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes;
  }
  Scratch scratch;
  const std::string a = scratch / "a.h5", b = scratch / "b.h5";
  const std::vector<InputArrays> padded = {{"x", "padded", "lengths", ""}},
                                 flat = {{"x", "flat", "", "offsets"}};
};

TEST_F(RaggedReaderTest, PaddedAndFlatRowsAreTheSame) {
  for (const auto& inputs : {padded, flat}) {
    const Source source = open(inputs);
    const Column& column = source.inputs[0];
    EXPECT_EQ(column.length, 3) << "of the longest";
    EXPECT_EQ(source.first_row, (std::vector<int64_t>{0, 3, 4}));
    EXPECT_EQ(column.row_bytes(), 10U);
    EXPECT_EQ(column.as_rows(0).shape, (Shape{3, 3}));
    EXPECT_EQ(column.file_row_bytes(0), 6U) << "3 steps, or 7 in 3 rows";
    int64_t cut = -1;
    EXPECT_EQ(rows_of(column, 0, 4, &cut), expected({{1, 2}, {}, {3, 4, 5}, {6}}, 3));
    EXPECT_EQ(cut, 0);
    EXPECT_EQ(rows_of(column, 1, 3), expected({{}, {3, 4, 5}}, 3));
    EXPECT_EQ(rows_of(column, 3, 4), expected({{6}}, 3));
    EXPECT_EQ(rows_of(column, 2, 2), expected({}, 3));
  }
}

TEST_F(RaggedReaderTest, LongerRowsAreCutAndCounted) {
  for (const auto& inputs : {padded, flat}) {
    int64_t cut = -1;
    EXPECT_EQ(rows_of(open(inputs, 1).inputs[0], 0, 4, &cut), expected({{1}, {}, {3}, {6}}, 1));
    EXPECT_EQ(cut, 2);
    EXPECT_EQ(rows_of(open(inputs, 5).inputs[0], 0, 4, &cut), expected({{1, 2}, {}, {3, 4, 5}, {6}}, 5));
    EXPECT_EQ(cut, 0);
  }
}

TEST_F(RaggedReaderTest, StepsOfSeveralValues) {
  make_hdf5(scratch / "c.h5", {{"flat", u16, {3, 2}, ramp(6, 1)},
                               {"offsets", i32, {3}, {0, 2, 3}},
                               {"padded", u16, {2, 2, 2}, {1, 2, 3, 4, 5, 6, 99, 99}},
                               {"lengths", i32, {2}, {2, 1}}});
  for (const auto& inputs : {padded, flat}) {
    const Source source = open_source({scratch / "c.h5"}, {inputs, {}});
    EXPECT_EQ(source.inputs[0].as_rows().shape, (Shape{2, 2, 2}));
    const std::vector<std::byte> rows = rows_of(source.inputs[0], 1, 2);
    EXPECT_EQ(std::vector(rows.begin(), rows.begin() + 8), stored_bytes(u16, {5, 6, 0, 0}));
    EXPECT_EQ(std::vector(rows.begin() + 8, rows.end()), stored_bytes(i32, {1}));
  }
}

TEST_F(RaggedReaderTest, TheDeckOrTheTrainSplitSaysHowLong) {
  FoundSources found;
  found.sources = {open_source({a}, {flat, {}}), open_source({b}, {flat, {}})};
  found.source_of_split = {1, 0, -1};
  DataSpec spec;
  settle_lengths(spec, found);
  EXPECT_EQ(found.sources[0].inputs[0].length, 1) << "as in the train split";
  spec.inputs = {{"x", {}, {}, 7}};
  settle_lengths(spec, found);
  EXPECT_EQ(found.sources[0].inputs[0].length, 7);
  const FoundSources copy = unpack_sources(pack_sources(found));
  EXPECT_EQ(copy.sources[0].inputs[0].length, 7);
  EXPECT_TRUE(copy.sources[0].inputs[0].by_offsets);
  EXPECT_EQ(copy.sources[0].inputs[0].extents[0].path, "offsets");
  EXPECT_EQ(copy.sources[0].first_row, (std::vector<int64_t>{0, 3}));
}

TEST_F(RaggedReaderTest, Refusals) {
  const std::string c = scratch / "c.h5";
  const auto refused = [&](const std::vector<TestArray>& arrays, const std::vector<InputArrays>& inputs,
                           const std::vector<std::string>& parts) {
    make_hdf5(c, arrays);
    expect_error_of(
        [&] {
          const Source source = open_source({c}, {inputs, {}});
          rows_of(source.inputs[0], 0, source.rows());
        },
        Exit::data, parts);
  };
  const TestArray rows = {"padded", u16, {3, 2}, ramp(6)}, values = {"flat", u16, {4}, ramp(4)};
  refused({rows, {"lengths", i32, {3}, {0, 2, 3}}}, padded, {"c.h5:lengths, row 2", "from 0 to 2"});
  refused({rows, {"lengths", i32, {3}, {0, -1, 2}}}, padded, {"c.h5:lengths, row 1", "the length"});
  refused({rows, {"lengths", f32, {3}, {0, 0.5, 2}}}, padded, {"c.h5:lengths, row 1"});
  refused({rows, {"lengths", i32, {2}, {0, 1}}}, padded, {"2 lengths for 3 rows"});
  refused({rows, {"lengths", i32, {3, 1}, {0, 1, 1}}}, padded, {"lengths have shape [N]"});
  refused({values, {"lengths", i32, {4}, ramp(4)}}, {{"x", "flat", "lengths", ""}},
          {"rows with lengths have shape [N, T]"});
  refused({values, {"offsets", i32, {3}, {0, 3, 2}}}, flat, {"c.h5:offsets, row 2", "below the one before"});
  refused({values, {"offsets", i32, {3}, {0, 3, 5}}}, flat, {"c.h5:offsets, row 2", "from 0 to 4"});
  refused({values, {"offsets", i32, {1}, {0}}}, flat, {"the dataset has no rows"});
  refused({values, {"offsets", i32, {2}, {1, 1}}}, flat, {"its rows are empty"});
  refused({rows, {"lengths", i32, {3}, {0, 1, 2}}}, {{"x", "padded", "nothing", ""}}, {"nothing"});
}

}  // namespace
}  // namespace lepton::data
