// SPDX-License-Identifier: Apache-2.0
// HDF5 files as scientists write them, for tests: any number type and byte order, contiguous, compact,
// chunked, filtered. Values are given as doubles and converted by HDF5 itself, not by the code under test.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "storage/hdf5.h"
#include "storage/hdf5_handle.h"
#include "storage/hdf5_type.h"

namespace lepton::testing {

using storage::StoredType;

inline constexpr StoredType u8{StoredType::Kind::unsigned_integer, 1, false};
inline constexpr StoredType i32{StoredType::Kind::signed_integer, 4, false};
inline constexpr StoredType f16{StoredType::Kind::floating, 2, false};
inline constexpr StoredType f32{StoredType::Kind::floating, 4, false};
inline constexpr StoredType f64{StoredType::Kind::floating, 8, false};

/// All 22 types that Lepton reads (the byte order of one-byte types does not count).
inline std::vector<StoredType> all_types() {
  std::vector<StoredType> types;
  using Kind = StoredType::Kind;
  for (const Kind kind : {Kind::signed_integer, Kind::unsigned_integer, Kind::floating})
    for (const int bytes : {1, 2, 4, 8})
      for (const bool big : {false, true})
        if (!(bytes == 1 && (big || kind == Kind::floating))) types.push_back({kind, bytes, big});
  return types;
}

struct TestArray {
  std::string path;
  StoredType type;
  Shape shape;
  std::vector<double> values;  ///< empty: the array is declared but not written
  Shape chunk = {};            ///< empty: contiguous
  int deflate = -1;
  bool shuffle = false, fletcher32 = false, compact = false;
  bool boolean = false;  ///< u8 of 0 and 1, stored as h5py stores booleans
};

/// FALSE and TRUE, an enumeration of one byte.
inline storage::Handle boolean_type() {
  storage::Handle type(H5Tenum_create(H5T_STD_I8LE), H5Tclose);
  for (const signed char value : {0, 1}) H5Tenum_insert(type.get(), value == 0 ? "FALSE" : "TRUE", &value);
  return type;
}

inline std::vector<hsize_t> sides(const Shape& shape) {
  return {shape.begin(), shape.end()};
}

inline void add_array(hid_t file, const TestArray& array) {
  const storage::Handle type = array.boolean ? boolean_type() : storage::hdf5_type(array.type);
  const storage::Handle space(
      H5Screate_simple(static_cast<int>(array.shape.size()), sides(array.shape).data(), nullptr), H5Sclose);
  const storage::Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  const storage::Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.get(), 1);
  if (!array.chunk.empty())
    H5Pset_chunk(layout.get(), static_cast<int>(array.chunk.size()), sides(array.chunk).data());
  if (array.compact) H5Pset_layout(layout.get(), H5D_COMPACT);
  if (array.shuffle) H5Pset_shuffle(layout.get());
  if (array.deflate >= 0) H5Pset_deflate(layout.get(), static_cast<unsigned>(array.deflate));
  if (array.fletcher32) H5Pset_fletcher32(layout.get());
  const storage::Handle set(
      H5Dcreate2(file, array.path.c_str(), type.get(), space.get(), links.get(), layout.get(), H5P_DEFAULT),
      H5Dclose);
  ASSERT_GE(set.get(), 0) << array.path;
  if (!array.values.empty()) {
    ASSERT_EQ(static_cast<int64_t>(array.values.size()), element_count(array.shape)) << array.path;
    if (array.boolean) {
      const std::vector<signed char> bytes(array.values.begin(), array.values.end());
      ASSERT_GE(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), 0);
      return;
    }
    ASSERT_GE(H5Dwrite(set.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, array.values.data()), 0);
  }
}

inline void make_hdf5(const std::string& file, const std::vector<TestArray>& arrays) {
  const storage::Hdf5Lock lock;
  const storage::Handle id(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  ASSERT_GE(id.get(), 0) << file;
  for (const TestArray& array : arrays) add_array(id.get(), array);
}

/// n values: first, first + step, ... (modulo `modulus` where it is not 0)
inline std::vector<double> ramp(int64_t n, double first = 0, double step = 1, int64_t modulus = 0) {
  std::vector<double> values;
  for (int64_t i = 0; i < n; ++i)
    values.push_back(first + step * static_cast<double>(modulus ? i % modulus : i));
  return values;
}

}  // namespace lepton::testing
