// SPDX-License-Identifier: Apache-2.0
// Conversion loops. The common case, uint8 or float32 features or grey images, is a plain loop with clones
// for wider vectors; (x - shift) * factor is the same single operations in every clone, hence the same bits.
#include "data/assembler.h"

#include <algorithm>

#include "base/simd.h"
#include "data/row_check.h"
#include "data/stored_value.h"

namespace lepton::data {

namespace {

/// Rows of a shuffled batch lie anywhere in memory: the next ones are asked for while this one is converted.
constexpr size_t rows_ahead = 2, prefetch_bytes_max = 4096;
void prefetch(const std::byte* row, size_t bytes) {
  for (size_t at = 0; at < std::min(bytes, prefetch_bytes_max); at += 64) __builtin_prefetch(row + at);
}

/// Types whose every value float32 holds exactly.
template <class T>
constexpr bool narrow = sizeof(T) <= 2 || std::is_same_v<T, float>;

template <class T>
[[gnu::always_inline]] inline float as_float(T value) {
  if constexpr (std::is_same_v<T, Half>)
    return half_to_float(value);
  else
    return static_cast<float>(value);
}

/// One row in stored order; `each`: a shift and a factor for every element, else the first for all.
template <class T, bool swap, bool each>
[[gnu::always_inline]] inline void convert_narrow(const std::byte* row, int64_t n, const float* shift,
                                                  const float* factor, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const int64_t k = each ? i : 0;
    out[i] = (as_float(load<T, swap>(row, i)) - shift[k]) * factor[k];
  }
}

#define LEPTON_CONVERTER(name, T, each)                                                           \
  LEPTON_SIMD void name(const std::byte* row, int64_t n, const float* shift, const float* factor, \
                        float* out) {                                                             \
    convert_narrow<T, false, each>(row, n, shift, factor, out);                                   \
  }
LEPTON_CONVERTER(bytes_one_group, uint8_t, false)
LEPTON_CONVERTER(bytes_each, uint8_t, true)
LEPTON_CONVERTER(floats_one_group, float, false)
LEPTON_CONVERTER(floats_each, float, true)
#undef LEPTON_CONVERTER

template <class T, bool swap>
void convert_row(const std::byte* row, int64_t n, const std::vector<float>& shift,
                 const std::vector<float>& factor, const double* wide_shift, const double* wide_factor,
                 float* out) {
  const bool each = shift.size() > 1;
  if constexpr (std::is_same_v<T, uint8_t>) {
    (each ? bytes_each : bytes_one_group)(row, n, shift.data(), factor.data(), out);
  } else if constexpr (std::is_same_v<T, float> && !swap) {
    (each ? floats_each : floats_one_group)(row, n, shift.data(), factor.data(), out);
  } else if constexpr (narrow<T>) {
    if (each)
      convert_narrow<T, swap, true>(row, n, shift.data(), factor.data(), out);
    else
      convert_narrow<T, swap, false>(row, n, shift.data(), factor.data(), out);
  } else {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t k = each ? i : 0;
      out[i] = static_cast<float>((as_double(load<T, swap>(row, i)) - wide_shift[k]) * wide_factor[k]);
    }
  }
}

/// [C, H, W] to [H, W, C], one shift and factor per channel.
template <class T, bool swap>
void convert_planes(const std::byte* row, int64_t channels, int64_t pixels, const float* shift,
                    const float* factor, const double* wide_shift, const double* wide_factor, float* out) {
  for (int64_t c = 0; c < channels; ++c) {
    const std::byte* plane = row + c * pixels * static_cast<int64_t>(sizeof(T));
    for (int64_t p = 0; p < pixels; ++p) {
      const T stored = load<T, swap>(plane, p);
      if constexpr (narrow<T>)
        out[p * channels + c] = (as_float(stored) - shift[c]) * factor[c];
      else
        out[p * channels + c] = static_cast<float>((as_double(stored) - wide_shift[c]) * wide_factor[c]);
    }
  }
}

constexpr double spread_min =
    1e-37;  // below, the factor is beyond float32: as good as a group that never varies

}  // namespace

void group_normalisation(Normalisation kind, const Statistics& statistics, std::vector<double>& shift,
                         std::vector<double>& factor) {
  if (kind == Normalisation::none) return;
  CHECK(statistics.mean.size() == shift.size(), "statistics of another dataset");
  const double low = *std::min_element(statistics.minimum.begin(), statistics.minimum.end());
  const double high = *std::max_element(statistics.maximum.begin(), statistics.maximum.end());
  for (size_t group = 0; group < shift.size(); ++group) {
    const bool unit = kind == Normalisation::unit;
    const double spread = unit ? high - low : statistics.deviation[group];
    shift[group] = unit ? low : statistics.mean[group];
    factor[group] = spread > spread_min ? 1 / spread : 1;
  }
}

Assembler::Assembler(const Dataset& dataset, int source, const Statistics& statistics) {
  const Source& columns = dataset.sources()[static_cast<size_t>(source)];
  input_type_ = columns.inputs.front().type;
  input_bytes_ = columns.input_row_bytes();
  input_elements_ = dataset.input_elements();
  channels_first_ = dataset.layout() == ImageLayout::chw && dataset.groups() > 1;
  channels_ = dataset.groups();
  pixels_ = input_elements_ / channels_;
  if (!columns.targets.empty()) {
    target_type_ = columns.targets.front().type;
    target_elements_ = static_cast<int64_t>(columns.target_row_bytes()) / target_type_.bytes;
    one_hot_ = dataset.target_kind() == TargetKind::one_hot;
  }
  const size_t groups = static_cast<size_t>(channels_);
  std::vector<double> shift(groups, 0), factor(groups, 1);
  group_normalisation(dataset.spec().normalisation, statistics, shift, factor);
  const GroupMap map = GroupMap::of(dataset.input_shape(), dataset.layout());
  const int64_t count = channels_first_ ? channels_ : groups == 1 ? 1 : input_elements_;
  for (int64_t i = 0; i < count; ++i) {
    const size_t group = static_cast<size_t>(channels_first_ ? i : map.group(i));
    wide_shift_.push_back(shift[group]);
    wide_factor_.push_back(factor[group]);
  }
  shift_.assign(wide_shift_.begin(), wide_shift_.end());
  factor_.assign(wide_factor_.begin(), wide_factor_.end());
}

void Assembler::inputs(std::span<const std::byte* const> rows, std::span<float> inputs) const {
  CHECK(inputs.size() == rows.size() * static_cast<size_t>(input_elements_), "size of a unit's inputs");
  with_type(input_type_, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr bool swap = decltype(tag)::swap;
    float* out = inputs.data();
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::byte* row = rows[i];
      if (i + rows_ahead < rows.size()) prefetch(rows[i + rows_ahead], input_bytes_);
      if (channels_first_)
        convert_planes<T, swap>(row, channels_, pixels_, shift_.data(), factor_.data(), wide_shift_.data(),
                                wide_factor_.data(), out);
      else
        convert_row<T, swap>(row, input_elements_, shift_, factor_, wide_shift_.data(), wide_factor_.data(),
                             out);
      out += input_elements_;
    }
  });
}

void Assembler::classes(std::span<const std::byte* const> rows, std::span<int32_t> classes) const {
  const int64_t positions = one_hot_ ? 1 : target_elements_;
  CHECK(classes.size() == rows.size() * static_cast<size_t>(positions) && target_elements_ > 0,
        "size of a unit's classes");
  int32_t* out = classes.data();
  for (const std::byte* row : rows)
    for (int64_t i = 0; i < positions; ++i) {
      const std::byte* target = row + input_bytes_ + i * target_type_.bytes;
      const auto id =
          one_hot_ ? one_hot_class(target_type_, target, target_elements_) : class_id(target_type_, target);
      CHECK(id, "a label that was not checked");
      *out++ = *id;
    }
}

void Assembler::values(std::span<const std::byte* const> rows, std::span<float> values) const {
  CHECK(values.size() == rows.size() * static_cast<size_t>(target_elements_), "size of a unit's values");
  with_type(target_type_, [&](auto tag) {
    float* out = values.data();
    for (const std::byte* row : rows)
      for (int64_t i = 0; i < target_elements_; ++i)
        *out++ = static_cast<float>(
            as_double(load<typename decltype(tag)::Type, decltype(tag)::swap>(row + input_bytes_, i)));
  });
}

}  // namespace lepton::data
