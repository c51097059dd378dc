// SPDX-License-Identifier: Apache-2.0
// InputConverter: one input of stored rows as float32, channels last. Conversion from any stored type and
// byte order happens here and nowhere else. In this order: conversion; the input's transforms of values
// (log1p, clip, scale, one_hot) as listed; normalisation, whose statistics are those of the values that come
// to it; random transforms as listed, in training only. Of a row with a length of its own all this is done to
// the steps that it has; what is behind them is 0. A random_crop with a size comes first: only its window is
// converted, the middle outside training; points that it takes from the padding are 0. Normalisation: x' = (x
// - shift) * factor per group, where a group that never varies has factor 1; in float32 for types that
// float32 holds exactly (8 and 16 bit integers, float16, float32) and behind transforms, in double and
// rounded once for the others. Thread-safe: all methods const, nothing is allocated. Called by assembler, by
// store for statistics, and by input_check.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "data/statistics.h"
#include "data/transforms.h"

namespace lepton::data {

/// What random transforms of a unit are drawn from, in training.
struct UnitDraws {
  uint64_t seed = 0;
  int64_t epoch = 0;
  std::span<const int64_t> ids;  ///< one per row
};

/// Normalised is (x - shift) * factor; of each group from `first` on, as many as the vectors have, in double.
/// `none` leaves them as they are.
void group_normalisation(Normalisation kind, const Statistics& statistics, size_t first,
                         std::vector<double>& shift, std::vector<double>& factor);

class InputConverter {
 public:
  /// Where the input is normalised its groups are those from `first_group` of the statistics.
  InputConverter(const Source& source, const Input& input, const Statistics& statistics, int64_t first_group);
  /// For values() alone.
  InputConverter(const Source& source, const Input& input);

  /// `rows`: n pointers to stored rows. inputs: n x elements; written. `draws`: nullptr outside training.
  void convert(std::span<const std::byte* const> rows, const UnitDraws* draws, std::span<float> inputs) const;
  /// One row as it comes to normalisation, uncut. Returns how many of its elements count: the others are
  /// padding.
  int64_t values(const std::byte* row, std::span<float> out) const;
  int64_t elements() const { return elements_; }

 private:
  void convert_plain(std::span<const std::byte* const> rows, float* out) const;
  void convert_lines(const std::byte* row, const Window& window, float* out) const;
  void convert_window(const std::byte* row, const Window& window, std::span<float> out) const;
  Window window_of(const UnitDraws* draws, size_t row) const;
  int64_t apply_fixed(std::span<float> values, int64_t count) const;
  void normalise(std::span<float> values) const;

  storage::StoredType type_;
  size_t offset_ = 0, bytes_ = 0;                  // of the values in a row
  int64_t stored_ = 0, whole_ = 0, elements_ = 0;  // of a row: as stored, uncut, and as given
  int64_t channels_ = 1, pixels_ = 0;              // as stored
  bool channels_first_ = false;
  int64_t step_ = 0;   // stored elements of a step of a row with a length of its own; 0: no such
  bool plain_ = true;  // one pass: no transforms of values, and all is converted alike
  Grid grid_, whole_grid_;
  std::optional<Transform> crop_;  // with a size
  size_t crop_place_ = 0;
  std::vector<Transform> fixed_, random_;
  std::vector<size_t> random_place_;  // in the input's list
  // Of the one pass: one per element of a row, in stored order; of an image with channels first one per
  // channel; one for one group. Else of conversion alone.
  std::vector<float> shift_, factor_;
  std::vector<double> wide_shift_, wide_factor_;
  std::vector<float> group_shift_, group_factor_;  // behind transforms, per group; empty: not normalised
};

/// Exact sums of one input over rows: of stored numbers where nothing comes between, else of what transforms
/// make of them; of rows with lengths of their own over the steps that they have.
class InputSums {
 public:
  InputSums(const Source& source, const Input& input);
  void add_row(const std::byte* row);
  StatisticsSums& sums() { return sums_; }

 private:
  InputConverter converter_;
  size_t offset_;
  bool stored_;
  int64_t step_;  // values that are added at a time
  StatisticsSums sums_;
  std::vector<float> values_;
};

}  // namespace lepton::data
