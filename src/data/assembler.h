// SPDX-License-Identifier: Apache-2.0
// Assembler: stored rows to a unit's float32 inputs (input_converter.h) and targets. Thread-safe: all methods
// const, nothing is allocated. Called by train.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "data/input_converter.h"
#include "data/statistics.h"

namespace lepton::data {

class Assembler {
 public:
  /// Inputs are taken as the dataset says; those of normalised ones need statistics (CHECKed).
  Assembler(const Dataset& dataset, int source, const Statistics& statistics);

  /// `rows`: n pointers to stored rows (inputs, then targets). One of the dataset's inputs: n x its elements,
  /// channels last; written.
  /// `draws`: of random transforms, in training; else nullptr.
  void input(size_t index, std::span<const std::byte* const> rows, const UnitDraws* draws,
             std::span<float> values) const;
  /// All of them, one behind the other: n x elements of the first, n x elements of the next.
  void inputs(std::span<const std::byte* const> rows, const UnitDraws* draws, std::span<float> values) const;
  /// Class ids of a target (kind classes or one_hot): n x positions; -1 where it is its ignored_class. Labels
  /// have been checked when the store was filled.
  void classes(std::span<const std::byte* const> rows, std::span<int32_t> classes, size_t target = 0) const;
  /// Values (kind values): n x outputs.
  void values(std::span<const std::byte* const> rows, std::span<float> values, size_t target = 0) const;

  size_t input_count() const { return inputs_.size(); }
  int64_t input_elements() const { return input_elements_; }  ///< of all inputs

 private:
  struct StoredTarget {
    storage::StoredType type;
    int64_t elements = 0;
    size_t offset = 0;  ///< in a row
    bool one_hot = false;
    std::optional<int64_t> ignored;
  };
  std::vector<InputConverter> inputs_;
  std::vector<StoredTarget> targets_;
  int64_t input_elements_ = 0;
};

}  // namespace lepton::data
