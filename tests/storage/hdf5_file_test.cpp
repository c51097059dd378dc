// SPDX-License-Identifier: Apache-2.0
// Bad files: each with its exit code and a text that says what is wrong, before anything is allocated.
#include "storage/hdf5_file.h"

#include <unistd.h>

#include <fstream>

#include "storage/make_hdf5.h"
#include "storage/scratch.h"

namespace lepton::storage {
namespace {

using testing::expect_error;
using testing::f32;
using testing::make_hdf5;
using testing::ramp;
using testing::Scratch;
using testing::u8;

class Hdf5File : public ::testing::Test {
 protected:
  void expect_refused(Exit code, const std::string& path, const std::string& part) {
    expect_error(code, part, [&] { Hdf5Array(file, path); });
  }
  Scratch scratch;
  std::string file = scratch / "data.h5";
};

TEST_F(Hdf5File, MissingOrUnreadable) {
  expect_refused(Exit::no_input, "x", "No such file");
  file = scratch.path();
  expect_refused(Exit::no_input, "x", "not a file");
  file = scratch / "closed.h5";
  make_hdf5(file, {{"x", u8, {3}, ramp(3)}});
  std::filesystem::permissions(file, std::filesystem::perms::none);
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  expect_refused(Exit::no_input, "x", "Permission denied");
}

TEST_F(Hdf5File, EmptyOrNotHdf5) {
  std::ofstream(file).close();
  expect_refused(Exit::data, "x", "empty");
  std::ofstream(file) << "a,b,c\n1,2,3\n";
  expect_refused(Exit::data, "x", "not an HDF5 file");
}

TEST_F(Hdf5File, TruncatedNamesBothSizes) {
  make_hdf5(file, {{"train/x", f32, {1000, 10}, ramp(10000)}});
  const auto whole = std::filesystem::file_size(file);
  std::filesystem::resize_file(file, whole - 100);
  expect_refused(Exit::data, "train/x",
                 std::to_string(whole) + " bytes expected, " + std::to_string(whole - 100));
  expect_refused(Exit::data, "train/x", file + ":/train/x");
  std::filesystem::resize_file(file, whole / 2);
  expect_refused(Exit::data, "train/x", "truncated");
  std::filesystem::resize_file(file, 600);
  expect_refused(Exit::data, "train/x", file);
}

TEST_F(Hdf5File, ContiguousDataBeyondTheFile) {
  // The superblock's end of file is patched to the truncated size, so that HDF5 itself opens the file.
  make_hdf5(file, {{"x", f32, {100000}, ramp(100000)}});
  const int64_t cut = static_cast<int64_t>(std::filesystem::file_size(file)) / 2;
  std::filesystem::resize_file(file, static_cast<uintmax_t>(cut));
  std::fstream patch(file, std::ios::in | std::ios::out | std::ios::binary);
  patch.seekp(40);  // superblock version 0: end of file address
  patch.write(reinterpret_cast<const char*>(&cut), 8);
  patch.close();
  expect_refused(Exit::data, "x", "there are " + std::to_string(cut));
}

TEST_F(Hdf5File, MissingArrayNamesTheNearest) {
  make_hdf5(file, {{"train/images", u8, {3, 2}, ramp(6)}, {"train/labels", u8, {3}, ramp(3)}});
  expect_refused(Exit::data, "train/image", "Did you mean \"train/images\"?");
  expect_refused(Exit::data, "/train/lables", "Did you mean \"train/labels\"?");
  expect_refused(Exit::data, "something/else/entirely", "The file holds: train/images, train/labels");
  expect_refused(Exit::data, "train", "no such array");
  expect_refused(Exit::data, "", "no such array");
}

TEST_F(Hdf5File, WrongTypeOrRank) {
  {
    const Hdf5Lock lock;
    const Handle id(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    const hsize_t n = 4;
    const Handle space(H5Screate_simple(1, &n, nullptr), H5Sclose), scalar(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle null(H5Screate(H5S_NULL), H5Sclose);
    for (const auto& [name, type, shape] :
         {std::tuple("strings", H5T_C_S1, space.get()), std::tuple("scalar", H5T_NATIVE_INT, scalar.get()),
          std::tuple("null", H5T_NATIVE_INT, null.get())})
      Handle(H5Dcreate2(id.get(), name, type, shape, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose);
  }
  expect_refused(Exit::data, "strings", "holds strings");
  expect_refused(Exit::data, "scalar", "single value");
  expect_refused(Exit::data, "null", "single value");
  EXPECT_TRUE(list_arrays(file).empty()) << "unreadable arrays are not listed";
}

TEST_F(Hdf5File, DeclaredSizesThatTheFileCannotHold) {
  const int64_t huge = int64_t{1} << 60;
  make_hdf5(file, {{"contiguous", u8, {huge}, {}},
                   {"chunked", u8, {huge}, {}, {1 << 20}},
                   {"packed", f32, {huge / 2}, {}, {1 << 20}, 4},
                   {"beyond", u8, {int64_t{1} << 40, int64_t{1} << 23}, {}, {1 << 10, 1 << 10}},
                   {"unwritten", f32, {100}, {}}});
  expect_refused(Exit::data, "contiguous", "never written");
  expect_refused(Exit::data, "chunked", "only 0 of");
  expect_refused(Exit::data, "packed", "only 0 of");
  expect_refused(Exit::data, "beyond", "impossible");
  expect_refused(Exit::data, "unwritten", "never written");
}

TEST_F(Hdf5File, NoOtherFilesAreFollowed) {
  const std::string other = scratch / "other.h5";
  make_hdf5(other, {{"x", u8, {4}, ramp(4)}});
  {
    const Hdf5Lock lock;
    const Handle id(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    ASSERT_GE(H5Lcreate_external(other.c_str(), "/x", id.get(), "link", H5P_DEFAULT, H5P_DEFAULT), 0);
    ASSERT_GE(H5Lcreate_soft("/link", id.get(), "soft", H5P_DEFAULT, H5P_DEFAULT), 0);
    const hsize_t n = 4;
    const Handle space(H5Screate_simple(1, &n, nullptr), H5Sclose);
    const Handle outside(H5Pcreate(H5P_DATASET_CREATE), H5Pclose),
        virtually(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_external(outside.get(), other.c_str(), 0, 4);
    Handle(H5Dcreate2(id.get(), "outside", H5T_NATIVE_UCHAR, space.get(), H5P_DEFAULT, outside.get(),
                      H5P_DEFAULT),
           H5Dclose);
    H5Pset_virtual(virtually.get(), space.get(), other.c_str(), "/x", space.get());
    Handle(H5Dcreate2(id.get(), "virtual", H5T_NATIVE_UCHAR, space.get(), H5P_DEFAULT, virtually.get(),
                      H5P_DEFAULT),
           H5Dclose);
  }
  expect_refused(Exit::data, "link", "no such array that can be opened");
  expect_refused(Exit::data, "soft", "no such array that can be opened");
  expect_refused(Exit::data, "outside", "external file");
  expect_refused(Exit::data, "virtual", "virtual dataset");
}

size_t copy_filter(unsigned, size_t, const unsigned*, size_t bytes, size_t*, void**) {
  return bytes;
}

TEST_F(Hdf5File, ForeignFilterIsNamed) {
  {
    const Hdf5Lock lock;
    const H5Z_class2_t filter = {H5Z_CLASS_T_VERS, 32000,   1,       1,
                                 "lz-something",   nullptr, nullptr, copy_filter};
    ASSERT_GE(H5Zregister(&filter), 0);
    const Handle id(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    const hsize_t n = 4;
    const Handle space(H5Screate_simple(1, &n, nullptr), H5Sclose);
    const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(layout.get(), 1, &n);
    H5Pset_filter(layout.get(), 32000, H5Z_FLAG_MANDATORY, 0, nullptr);
    const Handle set(
        H5Dcreate2(id.get(), "x", H5T_NATIVE_UCHAR, space.get(), H5P_DEFAULT, layout.get(), H5P_DEFAULT),
        H5Dclose);
    const unsigned char values[4] = {1, 2, 3, 4};
    ASSERT_GE(H5Dwrite(set.get(), H5T_NATIVE_UCHAR, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
  }
  expect_refused(Exit::data, "x", "filter 32000 (lz-something)");
  const Hdf5Lock lock;
  H5Zunregister(32000);
  expect_refused(Exit::data, "x", "filter 32000");
}

TEST_F(Hdf5File, ListsWhatCanBeRead) {
  make_hdf5(file, {{"b/y", f32, {5, 2}, ramp(10), {2, 2}, 1}, {"a", u8, {3}, ramp(3)}});
  const auto arrays = list_arrays(file);
  ASSERT_EQ(arrays.size(), 2u);
  EXPECT_EQ(arrays[0].path, "a");
  EXPECT_EQ(arrays[1].path, "b/y");
  EXPECT_EQ(arrays[1].shape, (Shape{5, 2}));
  EXPECT_EQ(arrays[1].chunk_rows, 2);
  EXPECT_TRUE(arrays[1].filtered);
  EXPECT_EQ(arrays[1].row_bytes(), 8u);
}

}  // namespace
}  // namespace lepton::storage
