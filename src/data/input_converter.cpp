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

/// `count` pixels of [C, H, W] to [H, W, C], one shift and factor per channel; a plane has so many.
template <class T, bool swap>
void convert_planes(const std::byte* row, int64_t channels, int64_t pixels, int64_t count, const float* shift,
                    const float* factor, const double* wide_shift, const double* wide_factor, float* out) {
  for (int64_t c = 0; c < channels; ++c) {
    const std::byte* plane = row + c * pixels * static_cast<int64_t>(sizeof(T));
    for (int64_t p = 0; p < count; ++p) {
      const T stored = load<T, swap>(plane, p);
      if constexpr (narrow<T>)
        out[p * channels + c] = (as_float(stored) - shift[c]) * factor[c];
      else
        out[p * channels + c] = static_cast<float>((as_double(stored) - wide_shift[c]) * wide_factor[c]);
    }
  }
}

void normalise_point(const float* shift, const float* factor, int64_t groups, float* values) {
  for (int64_t g = 0; g < groups; ++g) values[g] = (values[g] - shift[g]) * factor[g];
}

bool planes(ImageLayout layout) {
  return layout == ImageLayout::chw || layout == ImageLayout::cdhw;
}

constexpr storage::StoredType single{storage::StoredType::Kind::floating, 4, false};

/// Whether numbers go from the file to normalisation as they are.
bool as_stored(const Input& input) {
  return std::ranges::all_of(input.rules.transforms, is_random) && !input.ragged;
}

}  // namespace

constexpr double spread_min =
    1e-37;  // below, the factor is beyond float32: as good as a group that never varies

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

InputConverter::InputConverter(const Source& source, const Input& input)
    : type_(source.type_of(input)),
      offset_(source.offset_of(input)),
      stored_(input.stored_elements),
      whole_(input.whole_elements()),
      elements_(input.elements()),
      channels_(input.stored_channels()),
      grid_(input.grid()),
      whole_grid_(Input::grid_of(input.whole_shape())) {
  channels_first_ = planes(input.layout) && channels_ > 1;
  pixels_ = stored_ / channels_;
  bytes_ = static_cast<size_t>(stored_ * type_.bytes);
  if (input.ragged) step_ = input.stored_channels();
  for (size_t i = 0; i < input.rules.transforms.size(); ++i) {
    const Transform& transform = input.rules.transforms[i];
    if (!transform.size.empty()) {
      crop_ = transform;
      crop_place_ = i;
      continue;
    }
    (is_random(transform) ? random_ : fixed_).push_back(transform);
    if (is_random(transform)) random_place_.push_back(i);
  }
  const size_t count = channels_first_ ? static_cast<size_t>(channels_) : 1;
  wide_shift_.assign(count, 0);
  wide_factor_.assign(count, 1);
  shift_.assign(count, 0);
  factor_.assign(count, 1);
}

InputConverter::InputConverter(const Source& source, const Input& input, const Statistics& statistics,
                               int64_t first_group)
    : InputConverter(source, input) {
  const bool normalised = input.rules.normalisation != Normalisation::none;
  plain_ = fixed_.empty() && !(input.ragged && normalised);
  if (!normalised) return;
  const auto groups = static_cast<size_t>(input.groups());
  std::vector<double> shift(groups, 0), factor(groups, 1);
  group_normalisation(input.rules.normalisation, statistics, static_cast<size_t>(first_group), shift, factor);
  if (!plain_) {
    group_shift_.assign(shift.begin(), shift.end());
    group_factor_.assign(factor.begin(), factor.end());
    return;
  }
  const GroupMap map = GroupMap::of(input.whole_shape(), input.layout);
  const int64_t count = channels_first_ ? channels_ : groups == 1 ? 1 : whole_;
  wide_shift_.clear();
  wide_factor_.clear();
  for (int64_t i = 0; i < count; ++i) {
    const size_t group = static_cast<size_t>(channels_first_ ? i : map.group(i));
    wide_shift_.push_back(shift[group]);
    wide_factor_.push_back(factor[group]);
  }
  shift_.assign(wide_shift_.begin(), wide_shift_.end());
  factor_.assign(wide_factor_.begin(), wide_factor_.end());
}

void InputConverter::convert_plain(std::span<const std::byte* const> rows, float* out) const {
  with_type(type_, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr bool swap = decltype(tag)::swap;
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::byte* row = rows[i] + offset_;
      if (i + rows_ahead < rows.size()) prefetch(rows[i + rows_ahead] + offset_, bytes_);
      if (channels_first_)
        convert_planes<T, swap>(row, channels_, pixels_, pixels_, shift_.data(), factor_.data(),
                                wide_shift_.data(), wide_factor_.data(), out);
      else
        convert_row<T, swap>(row, stored_, shift_, factor_, wide_shift_.data(), wide_factor_.data(), out);
      out += whole_;
    }
  });
}

void InputConverter::convert_lines(const std::byte* row, const Window& window, float* out) const {
  with_type(type_, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr bool swap = decltype(tag)::swap;
    for_each_line(window, whole_grid_, [&](int64_t from, int64_t to, int64_t count) {
      float* const line = out + to * channels_;
      const auto bytes = static_cast<int64_t>(sizeof(T));
      if (channels_first_)
        convert_planes<T, swap>(row + from * bytes, channels_, pixels_, count, shift_.data(), factor_.data(),
                                wide_shift_.data(), wide_factor_.data(), line);
      else
        convert_row<T, swap>(row + from * channels_ * bytes, count * channels_, shift_, factor_,
                             wide_shift_.data(), wide_factor_.data(), line);
    });
  });
}

Window InputConverter::window_of(const UnitDraws* draws, size_t row) const {
  if (draws == nullptr) return middle_window(whole_grid_, grid_);
  return random_window(*crop_, crop_place_, {draws->seed, draws->ids[row], draws->epoch}, whole_grid_, grid_);
}

/// What comes before normalisation does so value by value, so that the window may be taken first.
void InputConverter::convert_window(const std::byte* row, const Window& window, std::span<float> out) const {
  clear_outside(window, whole_grid_, channels_, out.data());
  convert_lines(row + offset_, window, out.data());
  if (plain_) return;
  apply_fixed(out, window.points.points() * channels_);
  normalise(out);
  clear_outside(window, whole_grid_, whole_grid_.channels, out.data());
}

int64_t InputConverter::values(const std::byte* row, std::span<float> out) const {
  CHECK(std::ssize(out) == whole_, "size of a sample's input");
  convert_plain({&row, 1}, out.data());
  int64_t count = stored_;
  if (step_ > 0) count = step_ * load<int32_t, false>(row + offset_ + bytes_, 0);
  count = apply_fixed(out, count);
  std::ranges::fill(out.subspan(static_cast<size_t>(count)), 0.0f);
  return count;
}

/// The transforms of the first `count` values; how many come out.
int64_t InputConverter::apply_fixed(std::span<float> values, int64_t count) const {
  for (const Transform& transform : fixed_) {
    if (transform.kind != Transform::Kind::one_hot) {
      transform_values(transform, values.data(), count);
      continue;
    }
    expand_one_hot(values.data(), count, transform.classes);
    count *= transform.classes;
  }
  return count;
}

void InputConverter::normalise(std::span<float> values) const {
  const auto groups = std::ssize(group_shift_);
  for (int64_t k = 0; groups > 0 && k < std::ssize(values); k += groups)
    normalise_point(group_shift_.data(), group_factor_.data(), groups, values.data() + k);
}

void InputConverter::convert(std::span<const std::byte* const> rows, const UnitDraws* draws,
                             std::span<float> inputs) const {
  CHECK(inputs.size() == rows.size() * static_cast<size_t>(elements_), "size of a unit's inputs");
  if (plain_ && !crop_) convert_plain(rows, inputs.data());
  for (size_t i = 0; (crop_ || !plain_) && i < rows.size(); ++i) {
    const std::span<float> out =
        inputs.subspan(i * static_cast<size_t>(elements_), static_cast<size_t>(elements_));
    if (crop_)
      convert_window(rows[i], window_of(draws, i), out);
    else
      normalise(out.first(static_cast<size_t>(values(rows[i], out))));
  }
  if (draws == nullptr) return;
  for (size_t t = 0; t < random_.size(); ++t)
    for (size_t i = 0; i < rows.size(); ++i)
      transform_randomly(random_[t], random_place_[t], {draws->seed, draws->ids[i], draws->epoch}, grid_,
                         inputs.data() + i * static_cast<size_t>(elements_));
}

InputSums::InputSums(const Source& source, const Input& input)
    : converter_(source, input),
      offset_(source.offset_of(input)),
      stored_(as_stored(input)),
      step_(input.ragged ? input.groups() : input.whole_elements()),
      sums_(stored_ ? GroupMap::of(input.whole_shape(), input.layout) : GroupMap{step_, input.groups(), 1},
            stored_ ? source.type_of(input) : single),
      values_(stored_ ? 0 : static_cast<size_t>(input.whole_elements())) {}

void InputSums::add_row(const std::byte* row) {
  if (stored_) return sums_.add_row(row + offset_);
  const int64_t count = converter_.values(row, values_);
  for (int64_t i = 0; i < count; i += step_)
    sums_.add_row(reinterpret_cast<const std::byte*>(values_.data() + i));
}

}  // namespace lepton::data
