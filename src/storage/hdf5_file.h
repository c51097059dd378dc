// SPDX-License-Identifier: Apache-2.0
// Opening files and arrays with clear errors, and understanding how an array is stored. Shared by the readers
// of files and of images in memory. Every size that a file declares is checked against the file's real size
// here, before anybody allocates. External links are never followed. Callers hold Hdf5Lock.
#pragma once

#include <optional>

#include "storage/hdf5.h"
#include "storage/hdf5_handle.h"

namespace lepton::storage {

/// How the bytes of an array lie in its file.
struct ArrayLayout {
  ArrayInfo info;
  std::optional<int64_t> offset;  ///< contiguous and allocated: the first byte in the file
  bool chunked = false;
};

/// "file:/path", the place in errors.
std::string place(const std::string& file, const std::string& path);
size_t info_bytes(const ArrayInfo& info);

/// Opens for reading. Throws Error(no_input): missing or unreadable; Error(data): not HDF5, truncated,
/// damaged.
Handle open_file(const std::string& file, const std::string& wanted_path);
/// Throws Error(data) naming the nearest path when there is no such array.
Handle open_array(hid_t file_id, const std::string& file, const std::string& path);
/// Type, shape and layout, checked. file_bytes: the file's real size.
ArrayLayout describe(hid_t dataset, const std::string& file, const std::string& path, int64_t file_bytes);
/// Paths of all datasets reachable by hard links, sorted.
std::vector<std::string> dataset_paths(hid_t file_id);
/// Infos of those datasets that Lepton can read.
std::vector<ArrayInfo> readable_arrays(hid_t file_id, const std::string& file, int64_t file_bytes);

}  // namespace lepton::storage
