// SPDX-License-Identifier: Apache-2.0
// Conversion loops. The common case, uint8 or float32 features or grey images, is a plain loop with clones
// for wider vectors; (x - shift) * factor is the same single operations in every clone, hence the same bits.
#include "data/input_converter.h"

#include <algorithm>

#include "base/simd.h"
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

/// Shift and factor of each group, in double.
void group_normalisation(Normalisation kind, const Statistics& statistics, size_t first,
                         std::vector<double>& shift, std::vector<double>& factor) {
  if (kind == Normalisation::none) return;
  const std::span lows(&statistics.minimum[first], shift.size()),
      highs(&statistics.maximum[first], shift.size());
  const double low = *std::ranges::min_element(lows), high = *std::ranges::max_element(highs);
  for (size_t group = 0; group < shift.size(); ++group) {
    const bool unit = kind == Normalisation::unit;
    const double spread = unit ? high - low : statistics.deviation[first + group];
    shift[group] = unit ? low : statistics.mean[first + group];
    factor[group] = spread > spread_min ? 1 / spread : 1;
  }
}

}  // namespace

InputConverter::InputConverter(const Input& input, const storage::StoredType& type, size_t offset,
                               const Statistics& statistics, size_t first_group)
    : type_(type), offset_(offset), elements_(input.elements()), channels_(input.groups()) {
  channels_first_ = input.layout == ImageLayout::chw && channels_ > 1;
  pixels_ = elements_ / channels_;
  bytes_ = static_cast<size_t>(elements_ * type.bytes);
  const size_t groups = static_cast<size_t>(channels_);
  std::vector<double> shift(groups, 0), factor(groups, 1);
  group_normalisation(input.normalisation, statistics, first_group, shift, factor);
  const GroupMap map = GroupMap::of(input.shape, input.layout);
  const int64_t count = channels_first_ ? channels_ : groups == 1 ? 1 : elements_;
  for (int64_t i = 0; i < count; ++i) {
    const size_t group = static_cast<size_t>(channels_first_ ? i : map.group(i));
    wide_shift_.push_back(shift[group]);
    wide_factor_.push_back(factor[group]);
  }
  shift_.assign(wide_shift_.begin(), wide_shift_.end());
  factor_.assign(wide_factor_.begin(), wide_factor_.end());
}

void InputConverter::convert(std::span<const std::byte* const> rows, std::span<float> inputs) const {
  CHECK(inputs.size() == rows.size() * static_cast<size_t>(elements_), "size of a unit's inputs");
  with_type(type_, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr bool swap = decltype(tag)::swap;
    float* out = inputs.data();
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::byte* row = rows[i] + offset_;
      if (i + rows_ahead < rows.size()) prefetch(rows[i + rows_ahead] + offset_, bytes_);
      if (channels_first_)
        convert_planes<T, swap>(row, channels_, pixels_, shift_.data(), factor_.data(), wide_shift_.data(),
                                wide_factor_.data(), out);
      else
        convert_row<T, swap>(row, elements_, shift_, factor_, wide_shift_.data(), wide_factor_.data(), out);
      out += elements_;
    }
  });
}

}  // namespace lepton::data
