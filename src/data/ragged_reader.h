// SPDX-License-Identifier: Apache-2.0
// RaggedReader: rows of a column whose rows have lengths of their own, as rows of one length: the first
// Column::length steps, zeros behind, and the number of steps that count as an int32 behind these. In files
// they are padded rows with lengths [N], or flat values with offsets [N + 1]. One file is open at a time; one
// reader per thread. Called by source_reader, and longest_row by dataset_files.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data/dataset.h"

namespace lepton::data {

class RaggedReader {
 public:
  /// `column` outlives it. Opens nothing yet.
  explicit RaggedReader(const Column& column);
  /// Rows [begin, end) into `out`, Column::row_bytes() each. Throws Error(no_input, data), also for lengths
  /// and offsets that are impossible, with file and row; Error(io) when a file is not as it was found.
  void read(int64_t begin, int64_t end, std::span<std::byte> out);
  int64_t cut() const { return cut_; }  ///< rows so far that were longer than Column::length

 private:
  void open(size_t file);
  void read_padded(int64_t begin, int64_t end, std::byte* out);
  void read_flat(int64_t begin, int64_t end, std::byte* out);
  void put_row(const std::byte* values, int64_t steps, std::byte* out);

  const Column& column_;
  std::vector<int64_t> first_row_;  // of each file, and the total behind
  std::unique_ptr<storage::Hdf5Array> values_, extents_;
  size_t open_ = 0;  // the file of both
  std::vector<std::byte> bytes_;
  int64_t cut_ = 0;
};

/// Steps of the longest row in one file of a column: the width of padded rows; of flat values what the
/// offsets say, all of which are read and checked: they ascend and stay inside the values. Throws
/// Error(data).
int64_t longest_row(const Column& column, size_t file);

}  // namespace lepton::data
