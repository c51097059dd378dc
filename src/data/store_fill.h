// SPDX-License-Identifier: Apache-2.0
// One rank's share of filling the sample store: cutting rows at chunk boundaries, reading a range of rows in
// large blocks, and checking and hashing them while they are hot in cache. No communication. Called by
// store.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace lepton::data {

/// First row of each of `parts` parts of [begin, end), and the end: equal parts, moved to chunk boundaries of
/// the largest column where a part holds at least one chunk.
std::vector<int64_t> cut_rows(const Source& source, int64_t begin, int64_t end, int parts);

/// What a pass over some rows of one source found.
struct Findings {
  std::vector<int64_t> bad_rows;              ///< with what is not finite as float32, ascending
  int first_bad_column = Source::in_targets;  ///< an input, or in_targets
  int64_t bad_label_row = -1;  ///< the first row whose label or target cannot be taken, and why
  std::string bad_label;
  int bad_label_column = Source::in_targets;  ///< which; or an input that is not the number of a table's row
  std::vector<int64_t> largest_label;         ///< per target; -1: none
  std::vector<int64_t> cut;                   ///< per input: rows that were longer than its column
  uint64_t hash = 0;  ///< sum modulo 2^64 of hashes of (row, bytes): any partition gives the same
};

/// Reads rows [begin, end) into `out` (inputs, then targets of each row). Throws Error(no_input, data).
void read_source_rows(const Source& source, int64_t begin, int64_t end, std::span<std::byte> out,
                      Findings& findings, const Dataset& dataset);

/// Checks those of rows [begin, end), which lie at `rows`, that a split can use.
void check_rows(const Source& source, int64_t begin, int64_t end, const std::byte* rows,
                const Dataset& dataset, Findings& findings);

}  // namespace lepton::data
