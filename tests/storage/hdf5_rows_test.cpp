// SPDX-License-Identifier: Apache-2.0
// Rows over several files: every range, forwards and back, across files without rows; a file that changed.
#include "storage/hdf5_rows.h"

#include "storage/make_hdf5.h"
#include "storage/scratch.h"

namespace lepton::storage {
namespace {

using testing::expect_error;
using testing::make_hdf5;
using testing::ramp;
using testing::Scratch;
using testing::u8;

TEST(Hdf5Rows, EveryRangeOfSeveralFiles) {
  const Scratch scratch;
  std::vector<ArrayInfo> arrays;
  std::vector<std::byte> whole;
  int part = 0;
  for (const int64_t rows : {3, 0, 1, 4, 0}) {
    const std::string file = scratch / ("part-" + std::to_string(part) + ".h5");
    std::vector<double> values = ramp(rows * 2);
    for (double& value : values) value += 10 * part;
    for (double value : values) whole.push_back(static_cast<std::byte>(value));
    make_hdf5(file, {{"x", u8, {rows, 2}, values}});
    arrays.push_back(Hdf5Array(file, "x").info());
    ++part;
  }
  Hdf5Rows source(arrays);
  ASSERT_EQ(source.rows(), 8);
  ASSERT_EQ(source.row_bytes(), 2u);
  for (int64_t begin = 8; begin >= 0; --begin)
    for (int64_t end = begin; end <= 8; ++end) {
      std::vector<std::byte> rows(static_cast<size_t>(end - begin) * 2);
      source.read(begin, end, rows);
      EXPECT_EQ(rows, std::vector<std::byte>(whole.begin() + begin * 2, whole.begin() + end * 2))
          << begin << " to " << end;
    }
}

TEST(Hdf5Rows, AFileThatChangedIsNamed) {
  const Scratch scratch;
  const std::string file = scratch / "a.h5";
  make_hdf5(file, {{"x", u8, {3, 2}, ramp(6)}});
  const std::vector<ArrayInfo> arrays{Hdf5Array(file, "x").info()};
  make_hdf5(file, {{"x", u8, {2, 2}, ramp(4)}});
  Hdf5Rows source(arrays);
  std::vector<std::byte> rows(6);
  expect_error(Exit::io, "a.h5:x", [&] { source.read(0, 3, rows); });
  expect_error(Exit::software, "outside", [&] { source.read(0, 4, rows); });
}

}  // namespace
}  // namespace lepton::storage
