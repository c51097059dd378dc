// SPDX-License-Identifier: Apache-2.0
// Where the elements of an output come from along one axis: operators that only move elements or mix
// neighbours (Slice, Pad, Resize) are such a rule for each axis. Once for host and CUDA, in double where
// coordinates are computed. The other way round: which outputs read an input, as candidates in ascending
// order, so that a gradient can be gathered. Used by remap.cpp and its twin.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/philox.h"

namespace lepton::ops {

enum class AxisKind { same, slice, pad_constant, pad_edge, pad_reflect, nearest, linear };
enum class Coordinates { half_pixel, asymmetric, align_corners, pytorch_half_pixel };
enum class Rounding { prefer_floor, prefer_ceil, down, up };

struct AxisRule {
  AxisKind kind = AxisKind::same;
  int64_t in = 1, out = 1;
  int64_t start = 0, step = 1;  ///< of a slice; of a pad, `start` elements before
  Coordinates coordinates = Coordinates::half_pixel;
  Rounding rounding = Rounding::prefer_floor;
  double scale = 1;
};

/// The inputs of an output element and their weights, which are not 0.
struct Taps {
  int count = 1;
  int64_t index[2] = {0, 0};
  float weight[2] = {1, 0};
};

/// The place of output `i` among the inputs of a Resize.
LEPTON_HD inline double coordinate_of(const AxisRule& rule, int64_t i) {
  const auto at = static_cast<double>(i);
  switch (rule.coordinates) {
    case Coordinates::asymmetric:
      return at / rule.scale;
    case Coordinates::align_corners:
      return rule.out > 1 ? at * static_cast<double>(rule.in - 1) / static_cast<double>(rule.out - 1) : 0.0;
    case Coordinates::pytorch_half_pixel:
      return rule.out > 1 ? (at + 0.5) / rule.scale - 0.5 : 0.0;
    case Coordinates::half_pixel:
      break;
  }
  return (at + 0.5) / rule.scale - 0.5;
}

LEPTON_HD inline int64_t within(int64_t low, int64_t x, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

LEPTON_HD inline Taps nearest_tap(const AxisRule& rule, int64_t i) {
  const double x = coordinate_of(rule, i);
  double whole = std::floor(x);
  if (rule.rounding == Rounding::up) whole = std::ceil(x);
  if (rule.rounding == Rounding::prefer_floor) whole = std::ceil(x - 0.5);
  if (rule.rounding == Rounding::prefer_ceil) whole = std::floor(x + 0.5);
  Taps taps;
  taps.index[0] = within(0, static_cast<int64_t>(whole), rule.in - 1);
  return taps;
}

LEPTON_HD inline Taps linear_taps(const AxisRule& rule, int64_t i) {
  const double last = static_cast<double>(rule.in - 1), x = coordinate_of(rule, i);
  const double low = x < 0.0 ? 0.0 : x, inside = low > last ? last : low, whole = std::floor(inside);
  const auto weight = static_cast<float>(inside - whole);
  Taps taps;
  taps.count = weight == 0.0f ? 1 : 2;
  taps.index[0] = static_cast<int64_t>(whole);
  taps.index[1] = taps.index[0] + 1;
  taps.weight[0] = 1.0f - weight;
  taps.weight[1] = weight;
  return taps;
}

/// For output `i`; no tap at all where a Pad has its constant.
LEPTON_HD inline Taps taps_of(const AxisRule& rule, int64_t i) {
  if (rule.kind == AxisKind::nearest) return nearest_tap(rule, i);
  if (rule.kind == AxisKind::linear) return linear_taps(rule, i);
  Taps taps;
  int64_t from = i;
  if (rule.kind == AxisKind::slice) from = rule.start + i * rule.step;
  if (rule.kind >= AxisKind::pad_constant) from = i - rule.start;
  if (rule.kind == AxisKind::pad_constant) taps.count = from >= 0 && from < rule.in ? 1 : 0;
  if (rule.kind == AxisKind::pad_edge) from = within(0, from, rule.in - 1);
  if (rule.kind == AxisKind::pad_reflect) {
    from = from < 0 ? -from : from;
    from = from >= rule.in ? 2 * (rule.in - 1) - from : from;
  }
  taps.index[0] = from;
  return taps;
}

/// The weight of input j in output i.
LEPTON_HD inline float weight_of(const AxisRule& rule, int64_t i, int64_t j) {
  const Taps taps = taps_of(rule, i);
  if (taps.count > 0 && taps.index[0] == j) return taps.weight[0];
  return taps.count > 1 && taps.index[1] == j ? taps.weight[1] : 0.0f;
}

/// Outputs that may read an input: first, first + 1, ...; of a reflection up to three that lie apart.
struct Readers {
  int64_t first = 0, count = 1;
};

LEPTON_HD inline Readers resize_readers(const AxisRule& rule, int64_t j) {
  double stretch = rule.scale;
  if (rule.coordinates == Coordinates::align_corners && rule.in > 1)
    stretch = static_cast<double>(rule.out - 1) / static_cast<double>(rule.in - 1);
  // Half an element either way covers the kinds of coordinates, one more what is rounded.
  const auto low = static_cast<int64_t>(std::floor((static_cast<double>(j) - 1.0) * stretch)) - 1;
  const auto high = static_cast<int64_t>(std::ceil((static_cast<double>(j) + 2.0) * stretch)) + 1;
  const int64_t first = j == 0 ? 0 : within(0, low, rule.out);
  const int64_t end = j == rule.in - 1 ? rule.out : within(0, high, rule.out);
  return {first, end > first ? end - first : 0};
}

LEPTON_HD inline Readers readers_of(const AxisRule& rule, int64_t j) {
  if (rule.kind == AxisKind::same) return {j, 1};
  if (rule.kind == AxisKind::nearest || rule.kind == AxisKind::linear) return resize_readers(rule, j);
  if (rule.kind == AxisKind::slice) {
    const int64_t i = (j - rule.start) / rule.step;
    const bool reads = rule.start + i * rule.step == j && i >= 0 && i < rule.out;
    return {i, reads ? 1 : 0};
  }
  if (rule.kind == AxisKind::pad_reflect) return {0, 3};
  int64_t first = j + rule.start, end = first + 1;
  if (rule.kind == AxisKind::pad_edge && j == 0) first = 0;
  if (rule.kind == AxisKind::pad_edge && j == rule.in - 1) end = rule.out;
  first = within(0, first, rule.out);
  end = within(0, end, rule.out);
  return {first, end - first};
}

/// The k-th of them, or -1.
LEPTON_HD inline int64_t reader_of(const AxisRule& rule, const Readers& readers, int64_t j, int64_t k) {
  if (rule.kind != AxisKind::pad_reflect) return readers.first + k;
  const int64_t last = rule.in - 1;
  int64_t i = rule.start + j;
  if (k == 0) i = j == 0 ? -1 : rule.start - j;
  if (k == 2) i = j == last ? -1 : rule.start + 2 * last - j;
  return i >= 0 && i < rule.out ? i : -1;
}

}  // namespace lepton::ops
