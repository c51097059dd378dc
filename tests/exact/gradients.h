// SPDX-License-Identifier: Apache-2.0
// For tests of exact sums: a layout, made-up gradients of units, and an accumulator with memory of its own.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/philox.h"
#include "exact/accumulator.h"

namespace lepton::exact {

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(mix64(seed)) {}
  uint64_t next() { return mix64(seed_ ^ mix64(++count_)); }
  /// In [0, bound).
  int64_t below(int64_t bound) { return static_cast<int64_t>(next() % static_cast<uint64_t>(bound)); }
  /// In (-1, 1).
  double uniform() { return static_cast<double>(static_cast<int64_t>(next())) * 0x1p-63; }
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; --i)
      std::swap(values[i - 1], values[below(static_cast<int64_t>(i))]);
  }

 private:
  uint64_t seed_, count_ = 0;
};

inline ArenaLayout layout_of(const std::vector<int64_t>& counts) {
  ArenaLayout layout;
  for (size_t t = 0; t < counts.size(); ++t)
    layout.add("tensor_" + std::to_string(t), {counts[t]}, TensorRole::parameter, true);
  layout.finish();
  return layout;
}

/// One unit's gradients by tensor: magnitudes spread over `octaves` below 1, some zeros.
using UnitGradients = std::vector<std::vector<float>>;
inline UnitGradients made_up_gradients(const ArenaLayout& layout, Random& random, int octaves = 30) {
  UnitGradients gradients;
  for (const ArenaTensor& tensor : layout.tensors()) {
    std::vector<float>& values = gradients.emplace_back(static_cast<size_t>(tensor.count));
    for (float& value : values) {
      const int exponent = static_cast<int>(random.below(octaves + 1));
      value = exponent == octaves ? 0.0f : std::ldexp(static_cast<float>(random.uniform()), -exponent);
    }
  }
  return gradients;
}

/// An accumulator with memory and lanes of its own, as one node has.
struct Node {
  explicit Node(const ArenaLayout& layout, int nodes = 1)
      : memory((Accumulator::bytes(layout) + 63) / 64),
        accumulator(layout, std::as_writable_bytes(std::span(memory))),
        lanes(static_cast<int>(layout.tensors().size()), nodes, 1, 1) {}

  void add(const UnitGradients& gradients, const Scales& scales, int limit, int64_t unit, int start = 0) {
    add(gradients, scales, limit, unit, start, lanes);
  }
  void add(const UnitGradients& gradients, const Scales& scales, int limit, int64_t unit, int start,
           Lanes& to) {
    for (int t = 0; t < static_cast<int>(gradients.size()); ++t)
      accumulator.add(t, 0, gradients[t], scales.current()[t], scales.overflow_bits(t, limit), start, unit, t,
                      to);
  }

  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> memory;
  Accumulator accumulator;
  Lanes lanes;
};

}  // namespace lepton::exact
