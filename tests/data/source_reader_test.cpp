// SPDX-License-Identifier: Apache-2.0
// Rows of several columns over several files, side by side, in pieces that cross files.
#include "data/source_reader.h"

#include <gtest/gtest.h>

#include "data/dataset_files.h"
#include "data/stored_rows.h"
#include "errors.h"
#include "storage/scratch.h"

namespace lepton::data {
namespace {

using namespace lepton::testing;

constexpr StoredType big16{StoredType::Kind::signed_integer, 2, true};

class SourceReaderTest : public ::testing::Test {
 protected:
  SourceReaderTest() {
    make_hdf5(a, {{"x", u8, {3, 2}, ramp(6)}, {"z", big16, {3}, ramp(3, 300)}, {"y", f32, {3}, ramp(3)}});
    make_hdf5(b,
              {{"x", u8, {2, 2}, ramp(4, 6)}, {"z", big16, {2}, ramp(2, 303)}, {"y", f32, {2}, ramp(2, 3)}});
  }
  Scratch scratch;
  const std::string a = scratch / "a.h5", b = scratch / "b.h5";
};

TEST_F(SourceReaderTest, ColumnsSideBySide) {
  const Source source = open_source({a, b}, {{{"x", "x"}, {"z", "z"}}, {"y"}});
  ASSERT_EQ(source.row_bytes(), 8U);
  EXPECT_EQ(source.input_offset(1), 2U);
  EXPECT_EQ(source.input_row_bytes(), 4U);
  EXPECT_EQ(source.place(4, 1), b + ":z, row 1");
  SourceReader reader(source);
  const auto expect_rows = [&](int64_t begin, int64_t end) {
    std::vector<std::byte> rows(static_cast<size_t>(end - begin) * 8);
    reader.read(begin, end, rows);
    for (int64_t r = begin; r < end; ++r) {
      const std::byte* row = rows.data() + (r - begin) * 8;
      const auto r_double = static_cast<double>(r);
      std::vector<std::byte> expected = stored_bytes(u8, {2 * r_double, 2 * r_double + 1});
      for (const auto& more : {stored_bytes(big16, {300 + r_double}), stored_bytes(f32, {r_double})})
        expected.insert(expected.end(), more.begin(), more.end());
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), row)) << "row " << r;
    }
  };
  expect_rows(0, 5);
  expect_rows(2, 4);
  expect_rows(0, 1);
}

TEST_F(SourceReaderTest, InputsOfUnlikeLength) {
  make_hdf5(scratch / "c.h5", {{"x", u8, {3, 2}, ramp(6)}, {"z", u8, {2}, ramp(2)}});
  expect_error_of(
      [&] {
        open_source({scratch / "c.h5"}, {{{"x", "x"}, {"z", "z"}}, {}});
      },
      Exit::data, {"inputs and other inputs differ in length", "x has 3 rows, z has 2"});
}

TEST_F(SourceReaderTest, AFileThatChanged) {
  const Source source = open_source({a}, {{{"x", "x"}, {"z", "z"}}, {}});
  make_hdf5(a, {{"x", u8, {3, 2}, ramp(6)}, {"z", u8, {3}, ramp(3)}});
  SourceReader reader(source);
  std::vector<std::byte> rows(3 * 4);
  expect_error_of([&] { reader.read(0, 3, rows); }, Exit::io, {"a.h5:z", "changed"});
}

}  // namespace
}  // namespace lepton::data
