// SPDX-License-Identifier: Apache-2.0
// Stored bytes of given values in any number type, by HDF5's own conversion, for tests of what reads them.
#pragma once

#include <cstring>
#include <vector>

#include "storage/make_hdf5.h"

namespace lepton::testing {

inline std::vector<std::byte> stored_bytes(const StoredType& type, const std::vector<double>& values) {
  const storage::Hdf5Lock lock;
  std::vector<std::byte> bytes(values.size() * sizeof(double));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  const storage::Handle to = storage::hdf5_type(type);
  EXPECT_GE(H5Tconvert(H5T_NATIVE_DOUBLE, to.get(), values.size(), bytes.data(), nullptr, H5P_DEFAULT), 0);
  bytes.resize(values.size() * static_cast<size_t>(type.bytes));
  return bytes;
}

}  // namespace lepton::testing
