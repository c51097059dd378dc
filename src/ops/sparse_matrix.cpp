// SPDX-License-Identifier: Apache-2.0
// Checks and forms of sparse matrices; see the header.
#include "ops/sparse_matrix.h"

#include <cmath>
#include <map>

namespace lepton::ops {

std::string fault_of(const SparseMatrix& matrix) {
  const int64_t entries = matrix.entries();
  if (std::ssize(matrix.starts) != matrix.rows + 1)
    return "the starts of rows are not one more than the rows";
  if (std::ssize(matrix.indices) != entries) return "there are not as many column indices as values";
  if (matrix.starts.front() != 0 || matrix.starts.back() != entries)
    return "the starts of rows do not go from 0 to the number of entries, " + std::to_string(entries);
  for (int64_t r = 0; r < matrix.rows; ++r)
    if (matrix.starts[static_cast<size_t>(r)] > matrix.starts[static_cast<size_t>(r) + 1])
      return "the starts of rows descend at row " + std::to_string(r);
  for (const int32_t index : matrix.indices)
    if (index < 0 || index >= matrix.columns)
      return "column index " + std::to_string(index) + " is not from 0 to " +
             std::to_string(matrix.columns - 1);
  return "";
}

SparseMatrix transposed(const SparseMatrix& matrix) {
  SparseMatrix result{matrix.columns, matrix.rows, {}, {}, {}};
  result.starts.assign(static_cast<size_t>(matrix.columns) + 1, 0);
  for (const int32_t column : matrix.indices) ++result.starts[static_cast<size_t>(column) + 1];
  for (size_t c = 0; c < static_cast<size_t>(matrix.columns); ++c) result.starts[c + 1] += result.starts[c];
  std::vector<int64_t> next(result.starts.begin(), result.starts.end() - 1);
  result.indices.resize(matrix.indices.size());
  result.values.resize(matrix.values.size());
  for (int64_t r = 0; r < matrix.rows; ++r)
    for (auto k = matrix.starts[static_cast<size_t>(r)]; k < matrix.starts[static_cast<size_t>(r) + 1]; ++k) {
      const auto from = static_cast<size_t>(k);
      const auto to = static_cast<size_t>(next[static_cast<size_t>(matrix.indices[from])]++);
      result.indices[to] = static_cast<int32_t>(r);
      result.values[to] = matrix.values[from];
    }
  return result;
}

SparseMatrix normalised(const SparseMatrix& matrix, Normalisation how, bool self_loops) {
  SparseMatrix result{matrix.rows, matrix.columns, {}, {}, {}};
  std::vector<double> values, degrees;
  result.starts.push_back(0);
  for (int64_t r = 0; r < matrix.rows; ++r) {
    std::map<int32_t, double> row;
    if (self_loops) row[static_cast<int32_t>(r)] = 1;
    for (auto k = matrix.starts[static_cast<size_t>(r)]; k < matrix.starts[static_cast<size_t>(r) + 1]; ++k)
      row[matrix.indices[static_cast<size_t>(k)]] +=
          static_cast<double>(matrix.values[static_cast<size_t>(k)]);
    double degree = 0;
    for (const auto& [column, value] : row) {
      result.indices.push_back(column);
      values.push_back(value);
      degree += value;
    }
    degrees.push_back(degree);
    result.starts.push_back(std::ssize(values));
  }
  const auto inverse = [&](int64_t node, double power) {
    const double degree = degrees[static_cast<size_t>(node)];
    return degree > 0 ? std::pow(degree, power) : 0.0;
  };
  for (int64_t r = 0; r < matrix.rows; ++r)
    for (auto k = result.starts[static_cast<size_t>(r)]; k < result.starts[static_cast<size_t>(r) + 1]; ++k) {
      double value = values[static_cast<size_t>(k)];
      if (how == Normalisation::rows) value *= inverse(r, -1);
      if (how == Normalisation::symmetric)
        value *= inverse(r, -0.5) * inverse(result.indices[static_cast<size_t>(k)], -0.5);
      result.values.push_back(static_cast<float>(value));
    }
  return result;
}

}  // namespace lepton::ops
