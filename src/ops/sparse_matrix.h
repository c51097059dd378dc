// SPDX-License-Identifier: Apache-2.0
// SparseMatrix: compressed sparse rows (CSR), a graph's adjacency. Entries of a row lie in the order in which
// they were given, which defines the bits of sums. Constant once made: ops share it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lepton::ops {

struct SparseMatrix {
  int64_t rows = 0, columns = 0;
  std::vector<int64_t> starts;   ///< rows + 1: where in the others a row begins
  std::vector<int32_t> indices;  ///< columns
  std::vector<float> values;

  int64_t entries() const { return static_cast<int64_t>(values.size()); }
};

/// What is wrong with it, "" if nothing: starts that do not ascend from 0 to the number of entries, columns
/// out of range. `columns` in words: what they count.
std::string fault_of(const SparseMatrix& matrix);

/// Rows to columns; entries of a row by ascending column.
SparseMatrix transposed(const SparseMatrix& matrix);

enum class Normalisation { none, rows, symmetric };
/// Of a square matrix, with 1 added to each node's own entry if `self_loops`. `rows`: D^-1 A (means of
/// neighbours); `symmetric`: D^-1/2 A D^-1/2 (Kipf and Welling 2017), where D holds the sums of rows.
/// Computed in double. Entries of a row come by ascending column, equal ones joined.
SparseMatrix normalised(const SparseMatrix& matrix, Normalisation how, bool self_loops);

}  // namespace lepton::ops
