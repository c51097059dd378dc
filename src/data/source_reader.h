// SPDX-License-Identifier: Apache-2.0
// SourceReader: rows of a source as they lie in memory, what its columns hold side by side. Each column has
// one file open at a time and is read in as large blocks as are asked for. One per thread. Called by
// store_fill, and by predict, whose rows have no targets.
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "data/dataset.h"
#include "data/ragged_reader.h"
#include "storage/hdf5_rows.h"

namespace lepton::data {

class SourceReader {
 public:
  /// `source` outlives it. Opens nothing yet.
  explicit SourceReader(const Source& source);
  /// Rows [begin, end) into `out`, Source::row_bytes() each. Throws Error(no_input, data); Error(io) when a
  /// file is not as it was found.
  void read(int64_t begin, int64_t end, std::span<std::byte> out);
  /// Rows so far that were longer than an input's Column::length.
  int64_t cut(size_t input) const;

 private:
  using Reader = std::variant<storage::Hdf5Rows, RaggedReader>;
  const Source& source_;
  std::vector<Reader> columns_;     // inputs, then targets
  std::vector<std::byte> scratch_;  // a column's rows, before they stand among the others
};

}  // namespace lepton::data
