// SPDX-License-Identifier: Apache-2.0
// RowSet: a set of rows of a source, for splits that a list or a mask makes: a bit for each row, and counts
// in between, so that the i-th row of the set is found in O(log rows). An eighth of a byte per row and a
// little more, whatever the set holds. Invariant: counts are those of the bits once settle() has been called
// after the last change. Called by split_rows and dataset.
#pragma once

#include <cstdint>
#include <vector>

namespace lepton::data {

class RowSet {
 public:
  RowSet() = default;             ///< of no source
  explicit RowSet(int64_t rows);  ///< none of so many rows
  RowSet(int64_t rows, std::vector<uint64_t> words);

  int64_t rows() const { return rows_; }  ///< of the source
  /// False: it was in the set already.
  bool insert(int64_t row);
  void insert(int64_t begin, int64_t end);
  void insert(const RowSet& other);  ///< of the same source
  void erase(int64_t row);
  void keep(const RowSet& other);  ///< only what both hold
  void settle();

  bool contains(int64_t row) const;
  // Of a settled set:
  int64_t size() const { return counts_.empty() ? 0 : counts_.back(); }
  int64_t operator[](int64_t index) const;  ///< the index-th row in ascending order
  int64_t front() const { return (*this)[0]; }
  int64_t back() const { return (*this)[size() - 1]; }
  uint64_t hash() const;
  const std::vector<uint64_t>& words() const { return words_; }

 private:
  int64_t rows_ = 0;
  std::vector<uint64_t> words_;  // bit r % 64 of word r / 64
  std::vector<int64_t> counts_;  // rows of the set in the blocks before each block, and all of them
};

}  // namespace lepton::data
