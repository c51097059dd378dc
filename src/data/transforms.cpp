// SPDX-License-Identifier: Apache-2.0
// Elementwise loops, which have the same bits for all vector widths, and moves of whole points of a grid.
#include "data/transforms.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/philox.h"
#include "base/simd.h"
#include "ops/math.h"

namespace lepton::data {

namespace {

// ln(1 + x): with u = 1 + x rounded, ln(u) x / (u - 1) is right where ln(u) alone would have lost what x had
// behind 1's last place (D. Goldberg, "What every computer scientist should know", 1991, theorem 4).
LEPTON_SIMD void log1p_values(float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float x = values[i], u = 1.0f + x, rest = u - 1.0f;
    const float divisor = rest == 0.0f ? 1.0f : rest;
    const float whole = ops::math::log(u), exact = whole * (x / divisor);
    const bool edge = (x == std::numeric_limits<float>::infinity()) | (u == 0.0f);
    const float inner = rest == 0.0f ? x : exact;
    values[i] = edge ? whole : inner;
  }
}

LEPTON_SIMD void clip_values(float* values, int64_t count, float low, float high) {
  for (int64_t i = 0; i < count; ++i) {
    const float x = values[i] < low ? low : values[i];
    values[i] = x > high ? high : x;
  }
}

LEPTON_SIMD void scale_values(float* values, int64_t count, float factor, float offset) {
  for (int64_t i = 0; i < count; ++i) values[i] = values[i] * factor + offset;
}

/// Swaps what lies at i and n - 1 - i of an axis, for every line along it: `outer` blocks of n x `inner`
/// values.
void flip_axis(float* values, int64_t outer, int64_t n, int64_t inner) {
  for (; outer > 0; --outer, values += n * inner)
    for (int64_t i = 0; i < n / 2; ++i)
      std::swap_ranges(values + i * inner, values + (i + 1) * inner, values + (n - 1 - i) * inner);
}

/// values[i] = values[i + by] along an axis, 0 where that lies outside.
void shift_axis(float* values, int64_t outer, int64_t n, int64_t inner, int64_t by) {
  const int64_t moved = std::max<int64_t>(0, n - std::abs(by));
  for (; outer > 0 && by != 0; --outer, values += n * inner) {
    float* const to = values + (by < 0 ? -by * inner : 0);
    if (moved > 0)
      std::memmove(to, values + (by > 0 ? by * inner : 0),
                   static_cast<size_t>(moved * inner) * sizeof(float));
    float* const zeros = by < 0 ? values : values + moved * inner;
    std::fill_n(zeros, (n - moved) * inner, 0.0f);
  }
}

/// A whole number in [0, count).
int64_t below(uint32_t bits, int64_t count) {
  return static_cast<int64_t>((uint64_t{bits} * static_cast<uint64_t>(count)) >> 32);
}

PhiloxCounter bits_of(size_t place, const SampleDraw& draw) {
  const auto sample = static_cast<uint64_t>(draw.sample);
  return philox4x32(stream_key(draw.seed, Purpose::augment, place),
                    {0, static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32),
                     static_cast<uint32_t>(draw.epoch)});
}

}  // namespace

bool is_random(const Transform& transform) {
  return transform.kind == Transform::Kind::random_flip || transform.kind == Transform::Kind::random_crop;
}

void transform_values(const Transform& transform, float* values, int64_t count) {
  const auto low = static_cast<float>(transform.low), high = static_cast<float>(transform.high);
  switch (transform.kind) {
    case Transform::Kind::log1p:
      return log1p_values(values, count);
    case Transform::Kind::clip:
      return clip_values(values, count, low, high);
    case Transform::Kind::scale:
      return scale_values(values, count, static_cast<float>(transform.factor),
                          static_cast<float>(transform.offset));
    default:
      CHECK(false, "no transform of values");
  }
}

void expand_one_hot(float* values, int64_t count, int64_t classes) {
  for (int64_t i = count; i-- > 0;) {
    const float value = values[i];  // what is written lies at i or behind it
    const bool is_class = value >= 0 && value < static_cast<float>(classes) &&
                          value == static_cast<float>(static_cast<int64_t>(value));
    float* const to = values + i * classes;
    std::fill_n(to, classes, is_class ? 0.0f : std::numeric_limits<float>::quiet_NaN());
    if (is_class) to[static_cast<int64_t>(value)] = 1;
  }
}

Window random_window(const Transform& crop, size_t place, const SampleDraw& draw, const Grid& whole,
                     const Grid& left) {
  const PhiloxCounter bits = bits_of(place, draw);
  const int64_t p = crop.padding;
  const auto begin = [&](uint32_t random, int64_t side, int64_t kept) {
    return below(random, side + 2 * p - kept + 1) - p;
  };
  Window window{0, begin(bits[1], whole.height, left.height), begin(bits[0], whole.width, left.width), left};
  if (whole.depth > 1) window.z = begin(bits[2], whole.depth, left.depth);
  return window;
}

Window middle_window(const Grid& whole, const Grid& left) {
  return {(whole.depth - left.depth) / 2, (whole.height - left.height) / 2, (whole.width - left.width) / 2,
          left};
}

void clear_outside(const Window& window, const Grid& whole, int64_t channels, float* values) {
  int64_t done = 0;
  for_each_line(window, whole, [&](int64_t, int64_t to, int64_t count) {
    std::fill(values + done * channels, values + to * channels, 0.0f);
    done = to + count;
  });
  std::fill(values + done * channels, values + window.points.points() * channels, 0.0f);
}

void transform_randomly(const Transform& transform, size_t place, const SampleDraw& draw, const Grid& grid,
                        float* values) {
  const PhiloxCounter bits = bits_of(place, draw);
  const auto [depth, height, width, channels] = grid;
  if (transform.kind == Transform::Kind::random_crop) {
    const int64_t p = transform.padding, offsets = 2 * p + 1;
    shift_axis(values, depth * height, width, channels, below(bits[0], offsets) - p);
    shift_axis(values, depth, height, width * channels, below(bits[1], offsets) - p);
    if (depth > 1) shift_axis(values, 1, depth, height * width * channels, below(bits[2], offsets) - p);
    return;
  }
  if (bits[0] >> 31 == 0) return;  // every other time
  switch (transform.axis) {
    case Axis::horizontal:
      return flip_axis(values, depth * height, width, channels);
    case Axis::vertical:
      return flip_axis(values, depth, height, width * channels);
    case Axis::depth:
      return flip_axis(values, 1, depth, height * width * channels);
  }
}

}  // namespace lepton::data
