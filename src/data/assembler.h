// SPDX-License-Identifier: Apache-2.0
// Assembler: stored rows to a unit's float32 inputs (nhwc, normalised) and targets. Conversion from any
// stored type and byte order happens here and nowhere else. Normalisation: x' = (x - shift) * factor per
// group; in float32 for types that float32 holds exactly (8 and 16 bit integers, float16, float32), in double
// and rounded once for the others; a group that never varies gets factor 1. Thread-safe: all methods const,
// nothing is allocated.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "data/statistics.h"

namespace lepton::data {

/// Normalised is (x - shift) * factor; of each group, as many as the vectors have, in double. None leaves
/// them as they are.
void group_normalisation(Normalisation kind, const Statistics& statistics, std::vector<double>& shift,
                         std::vector<double>& factor);

class Assembler {
 public:
  /// Normalises as the dataset's spec says; then statistics must be there (CHECKed).
  Assembler(const Dataset& dataset, int source, const Statistics& statistics);

  /// `rows`: n pointers to stored rows (inputs, then targets). inputs: n x input elements, nhwc; written.
  void inputs(std::span<const std::byte* const> rows, std::span<float> inputs) const;
  /// Class ids (target_kind classes or one_hot): n x positions. Labels have been checked when the store was
  /// filled.
  void classes(std::span<const std::byte* const> rows, std::span<int32_t> classes) const;
  /// Values (target_kind values): n x outputs.
  void values(std::span<const std::byte* const> rows, std::span<float> values) const;

  int64_t input_elements() const { return input_elements_; }
  int64_t target_elements() const { return target_elements_; }

 private:
  storage::StoredType input_type_, target_type_;
  int64_t input_elements_ = 0, channels_ = 1, pixels_ = 0, target_elements_ = 0;
  size_t input_bytes_ = 0;
  bool channels_first_ = false, one_hot_ = false;
  // One per element of a row, in stored order; of an image with channels first one per channel; one for one
  // group.
  std::vector<float> shift_, factor_;
  std::vector<double> wide_shift_, wide_factor_;
};

}  // namespace lepton::data
