// SPDX-License-Identifier: Apache-2.0
// InputConverter: one input of stored rows as float32, channels last, normalised. Conversion from any stored
// type and byte order happens here and nowhere else. Normalisation: x' = (x - shift) * factor per group; in
// float32 for types that float32 holds exactly (8 and 16 bit integers, float16, float32), in double and
// rounded once for the others; a group that never varies gets factor 1. Thread-safe: all methods const,
// nothing is allocated. Called by assembler.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "data/statistics.h"

namespace lepton::data {

class InputConverter {
 public:
  /// `type`, `offset`: of the input's values in a row. Where the input is normalised its groups are those
  /// from `first_group` of the statistics.
  InputConverter(const Input& input, const storage::StoredType& type, size_t offset,
                 const Statistics& statistics, size_t first_group);

  /// `rows`: n pointers to stored rows. inputs: n x elements; written.
  void convert(std::span<const std::byte* const> rows, std::span<float> inputs) const;
  int64_t elements() const { return elements_; }

 private:
  storage::StoredType type_;
  size_t offset_ = 0, bytes_ = 0;
  int64_t elements_ = 0, channels_ = 1, pixels_ = 0;
  bool channels_first_ = false;
  // One per element of a row, in stored order; of an image with channels first one per channel; one for one
  // group.
  std::vector<float> shift_, factor_;
  std::vector<double> wide_shift_, wide_factor_;
};

}  // namespace lepton::data
