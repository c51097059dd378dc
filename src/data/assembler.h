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
  /// Class ids (target_kind classes or one_hot): n x positions; -1 where it is DataSpec::ignored_class.
  /// Labels have been checked when the store was filled.
  void classes(std::span<const std::byte* const> rows, std::span<int32_t> classes) const;
  /// Values (target_kind values): n x outputs.
  void values(std::span<const std::byte* const> rows, std::span<float> values) const;

  size_t input_count() const { return inputs_.size(); }
  int64_t input_elements() const { return input_elements_; }  ///< of all inputs
  int64_t target_elements() const { return target_elements_; }

 private:
  std::vector<InputConverter> inputs_;
  storage::StoredType target_type_;
  int64_t input_elements_ = 0, target_elements_ = 0;
  size_t input_bytes_ = 0;
  bool one_hot_ = false;
  std::optional<int64_t> ignored_;
};

}  // namespace lepton::data
