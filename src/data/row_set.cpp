// SPDX-License-Identifier: Apache-2.0
// Bits and counts; see the header. A block is a cache line of bits.
#include "data/row_set.h"

#include <algorithm>
#include <bit>
#include <span>
#include <string>

#include "base/error.h"
#include "base/hash.h"

namespace lepton::data {

namespace {

constexpr int64_t word_bits = 64, block_words = 8;

size_t words_for(int64_t rows) {
  return static_cast<size_t>((rows + word_bits - 1) / word_bits);
}

size_t word_of(int64_t row) {
  return static_cast<size_t>(row / word_bits);
}

uint64_t bit_of(int64_t row) {
  return uint64_t{1} << (row % word_bits);
}

}  // namespace

RowSet::RowSet(int64_t rows) : RowSet(rows, std::vector<uint64_t>(words_for(rows), 0)) {}

RowSet::RowSet(int64_t rows, std::vector<uint64_t> words) : rows_(rows), words_(std::move(words)) {
  CHECK(words_.size() == words_for(rows), "the words of a set of rows");
  settle();
}

bool RowSet::insert(int64_t row) {
  CHECK(row >= 0 && row < rows_, "row " + std::to_string(row) + " of " + std::to_string(rows_));
  uint64_t& word = words_[word_of(row)];
  const bool is_new = (word & bit_of(row)) == 0;
  word |= bit_of(row);
  return is_new;
}

void RowSet::insert(int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) insert(row);
}

void RowSet::insert(const RowSet& other) {
  CHECK(rows_ == other.rows_, "sets of rows of two sources");
  for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
}

void RowSet::keep(const RowSet& other) {
  CHECK(rows_ == other.rows_, "sets of rows of two sources");
  for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
}

void RowSet::erase(int64_t row) {
  if (contains(row)) words_[word_of(row)] ^= bit_of(row);
}

bool RowSet::contains(int64_t row) const {
  return row >= 0 && row < rows_ && (words_[word_of(row)] & bit_of(row)) != 0;
}

void RowSet::settle() {
  counts_.assign(1, 0);
  int64_t count = 0;
  for (size_t i = 0; i < words_.size(); ++i) {
    count += std::popcount(words_[i]);
    if ((i + 1) % block_words == 0 || i + 1 == words_.size()) counts_.push_back(count);
  }
}

int64_t RowSet::operator[](int64_t index) const {
  CHECK(index >= 0 && index < size(), std::to_string(index) + " of a set of " + std::to_string(size()));
  const auto block = std::upper_bound(counts_.begin(), counts_.end(), index) - counts_.begin() - 1;
  int64_t before = counts_[static_cast<size_t>(block)], word = block * block_words;
  for (;; ++word) {
    const int64_t here = std::popcount(words_[static_cast<size_t>(word)]);
    if (index < before + here) break;
    before += here;
  }
  uint64_t bits = words_[static_cast<size_t>(word)];
  for (; before < index; ++before) bits &= bits - 1;
  return word * word_bits + std::countr_zero(bits);
}

uint64_t RowSet::hash() const {
  return hash64_of(std::span(words_), static_cast<uint64_t>(rows_));
}

}  // namespace lepton::data
