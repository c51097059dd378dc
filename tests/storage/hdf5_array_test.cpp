// SPDX-License-Identifier: Apache-2.0
// Rows come out as stored, for every type, byte order and layout, and damage is an error.
#include <cstring>
#include <fstream>
#include <random>

#include "storage/hdf5.h"
#include "storage/make_hdf5.h"
#include "storage/scratch.h"

namespace lepton::storage {
namespace {

using testing::make_hdf5;
using testing::ramp;
using testing::Scratch;
using testing::TestArray;

/// What HDF5 itself reads, converted to double: the reference.
std::vector<double> read_by_hdf5(const std::string& file, const std::string& path, int64_t n) {
  const Hdf5Lock lock;
  const Handle id(H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  const Handle set(H5Dopen2(id.get(), path.c_str(), H5P_DEFAULT), H5Dclose);
  std::vector<double> values(static_cast<size_t>(n));
  EXPECT_GE(H5Dread(set.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  return values;
}

/// Stored bytes to doubles, by HDF5's conversion.
std::vector<double> converted(const StoredType& type, std::vector<std::byte> bytes) {
  const Hdf5Lock lock;
  const size_t n = bytes.size() / static_cast<size_t>(type.bytes);
  bytes.resize(n * sizeof(double));
  const Handle from = hdf5_type(type);
  EXPECT_GE(H5Tconvert(from.get(), H5T_NATIVE_DOUBLE, n, bytes.data(), nullptr, H5P_DEFAULT), 0);
  std::vector<double> values(n);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<TestArray> layouts(const StoredType& type, int64_t rows) {
  const Shape shape = {rows, 3, 4};
  const std::vector<double> values = ramp(rows * 12, 0, 1, 120);
  return {{"contiguous", type, shape, values},
          {"compact", type, shape, values, {}, -1, false, false, true},
          {"chunked", type, shape, values, {8, 3, 4}},
          {"tiles", type, shape, values, {5, 2, 3}},
          {"deflate", type, shape, values, {8, 3, 4}, 6},
          {"all filters", type, shape, values, {16, 3, 2}, 1, true, true}};
}

TEST(Hdf5Array, WindowsOfAnArrayOfRankOne) {
  const Scratch scratch;
  const std::string file = scratch / "tokens.h5";
  make_hdf5(file, {{"plain", testing::u8, {41}, ramp(41, 0, 1, 200)},
                   {"chunked", testing::u8, {41}, ramp(41, 0, 1, 200), {4}},
                   {"deflate", testing::u8, {41}, ramp(41, 0, 1, 200), {7}, 6},
                   {"rows", testing::u8, {5, 2}, ramp(10)}});
  for (const char* path : {"plain", "chunked", "deflate"})
    for (const int64_t stride : {1, 3, 8, 11})
      for (const int64_t first : {0, 1}) {
        const Hdf5Array array(file, path, {8, stride, first, 9});
        const int64_t rows = (41 - 9) / stride + 1;
        EXPECT_EQ(array.info().shape, (Shape{rows, 8}));
        for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, rows}, {rows / 2, rows}, {1, 2}}) {
          std::vector<std::byte> bytes(static_cast<size_t>((end - begin) * 8));
          array.read_rows(begin, end, bytes);
          for (int64_t i = 0; i < std::ssize(bytes); ++i)
            ASSERT_EQ(static_cast<int64_t>(bytes[static_cast<size_t>(i)]),
                      (begin + i / 8) * stride + first + i % 8)
                << path << " stride " << stride << " from row " << begin;
        }
      }
  EXPECT_EQ(Hdf5Array(file, "plain", {41, 5, 0, 41}).info().shape, (Shape{1, 41}));
  testing::expect_error(Exit::data, "41 elements are fewer than the 42 of one window", [&] {
    Hdf5Array(file, "plain", {41, 5, 0, 42});
  });
  testing::expect_error(Exit::data, "array of rank 1, this one has shape [5, 2]", [&] {
    Hdf5Array(file, "rows", {2, 1, 0, 2});
  });
}

TEST(Hdf5Array, EveryTypeInEveryLayout) {
  const Scratch scratch;
  const int64_t rows = 37;
  for (const StoredType& type : testing::all_types()) {
    const std::string file = scratch / (type.text() + ".h5");
    make_hdf5(file, layouts(type, rows));
    for (const TestArray& made : layouts(type, rows)) {
      const Hdf5Array array(file, made.path);
      EXPECT_EQ(array.info().type, type) << made.path;
      EXPECT_EQ(array.info().shape, made.shape);
      EXPECT_EQ(array.info().chunk_rows, made.chunk.empty() ? 0 : made.chunk[0]);
      EXPECT_EQ(array.info().filtered, made.deflate >= 0);
      std::vector<std::byte> bytes(static_cast<size_t>(rows) * array.info().row_bytes());
      array.read_rows(0, rows, bytes);
      EXPECT_EQ(converted(type, bytes), read_by_hdf5(file, made.path, rows * 12))
          << type.text() << " " << made.path;
      EXPECT_EQ(converted(type, bytes), made.values) << type.text() << " " << made.path;
    }
  }
}

TEST(Hdf5Array, AnyRangeOfRows) {
  const Scratch scratch;
  const std::string file = scratch / "a.h5";
  const int64_t rows = 53;
  make_hdf5(file, layouts(testing::u8, rows));
  std::mt19937 random(1);
  for (const TestArray& made : layouts(testing::u8, rows)) {
    const Hdf5Array array(file, made.path);
    for (int i = 0; i < 200; ++i) {
      const int64_t begin = static_cast<int64_t>(random() % 54),
                    end = begin + static_cast<int64_t>(random() % (54 - begin));
      std::vector<std::byte> bytes(static_cast<size_t>(end - begin) * 12);
      array.read_rows(begin, end, bytes);
      for (size_t k = 0; k < bytes.size(); ++k)
        ASSERT_EQ(static_cast<double>(bytes[k]), made.values[static_cast<size_t>(begin) * 12 + k])
            << made.path;
    }
  }
}

TEST(Hdf5Array, ManyChunksGoThroughHdf5) {
  const Scratch scratch;
  const std::string file = scratch / "a.h5";
  make_hdf5(file, {{"x", testing::f32, {3001, 2}, ramp(6002), {3, 2}}});  // more chunks than the table takes
  const Hdf5Array array(file, "x");
  for (const auto& [begin, end] :
       {std::pair(0, 3001), std::pair(1, 3000), std::pair(4, 5), std::pair(2999, 3001)}) {
    std::vector<float> values(static_cast<size_t>(2 * (end - begin)));
    array.read_rows(begin, end, std::as_writable_bytes(std::span(values)));
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(values[i], static_cast<float>(i + 2 * static_cast<size_t>(begin)));
  }
}

TEST(Hdf5Array, NoRows) {
  const Scratch scratch;
  const std::string file = scratch / "a.h5";
  make_hdf5(file, {{"x", testing::f32, {0, 2}, {}}, {"y", testing::f32, {0, 2}, {}, {4, 2}}});
  for (const char* path : {"x", "y"}) {
    const Hdf5Array array(file, path);
    EXPECT_EQ(array.info().shape, (Shape{0, 2}));
    array.read_rows(0, 0, {});
  }
}

TEST(Hdf5Array, RowsOutsideAreABug) {
  const Scratch scratch;
  const std::string file = scratch / "a.h5";
  make_hdf5(file, {{"x", testing::u8, {4}, ramp(4)}});
  const Hdf5Array array(file, "x");
  std::vector<std::byte> bytes(5);
  testing::expect_error(Exit::software, "rows outside", [&] { array.read_rows(0, 5, bytes); });
  testing::expect_error(Exit::software, "wrong size", [&] { array.read_rows(0, 4, bytes); });
}

TEST(Hdf5Array, IsHdf5BySignature) {
  const Scratch scratch;
  make_hdf5(scratch / "a.h5", {{"x", testing::u8, {4}, ramp(4)}});
  std::ofstream(scratch / "text.h5") << "no array in sight";
  std::ofstream(scratch / "empty.h5").close();
  EXPECT_TRUE(is_hdf5(scratch / "a.h5"));
  for (const char* name : {"text.h5", "empty.h5", "missing.h5"})
    EXPECT_FALSE(is_hdf5(scratch / name)) << name;
}

TEST(Hdf5Array, FlippedBitUnderFletcher32) {
  const Scratch scratch;
  const std::string file = scratch / "a.h5";
  make_hdf5(file, {{"x", testing::u8, {4000}, ramp(4000, 7, 0), {4000}, -1, false, true}});
  std::string content;
  {
    std::ifstream in(file, std::ios::binary);
    content.assign(std::istreambuf_iterator<char>(in), {});
  }
  const size_t at = content.find(std::string(100, '\x07'));
  ASSERT_NE(at, std::string::npos);
  content[at + 50] ^= 1;
  std::ofstream(file, std::ios::binary) << content;
  const Hdf5Array array(file, "x");
  std::vector<std::byte> bytes(4000);
  testing::expect_error(Exit::data, "rows 0 to 4000 cannot be read; HDF5 says",
                        [&] { array.read_rows(0, 4000, bytes); });
}

TEST(Hdf5Array, FileThatShrinksWhileItIsRead) {
  const Scratch scratch;
  const std::string file = scratch / "a.h5";
  make_hdf5(file, {{"x", testing::u8, {100000}, ramp(100000, 0, 1, 200)}});
  const Hdf5Array array(file, "x");
  std::filesystem::resize_file(file, 50000);
  std::vector<std::byte> bytes(100000);
  testing::expect_error(Exit::data, "ends at byte 50000", [&] { array.read_rows(0, 100000, bytes); });
}

}  // namespace
}  // namespace lepton::storage
