// SPDX-License-Identifier: Apache-2.0
// Rows of arrays that follow each other, one array per file: row numbers count over all of them. Called by
// train/predict, whose compute threads have one each and read onwards, so one file is open at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "storage/hdf5.h"

namespace lepton::storage {

class Hdf5Rows {
 public:
  /// `arrays`: as they were found, alike in all but their first dimension; outlives this object. Opens
  /// nothing yet.
  explicit Hdf5Rows(std::span<const ArrayInfo> arrays);
  int64_t rows() const { return first_row_.back(); }
  size_t row_bytes() const { return arrays_.front().row_bytes(); }
  /// Rows [begin, end) into `out` (row_bytes() each). Errors of Hdf5Array; Error(io) when a file is not as it
  /// was found.
  void read(int64_t begin, int64_t end, std::span<std::byte> out);

 private:
  const Hdf5Array& open_array(size_t file);
  std::span<const ArrayInfo> arrays_;
  std::vector<int64_t> first_row_;  ///< of each file, and the total behind
  std::unique_ptr<Hdf5Array> array_;
  size_t open_ = 0;  ///< the file of array_
};

}  // namespace lepton::storage
