// SPDX-License-Identifier: Apache-2.0
// Scales: for each tensor the power of two that turns its gradients into integers (DESIGN section 1, rule 1).
// s follows from M, the largest exponent over all units of the last accepted step, with headroom; an attempt
// that overflows or is much too coarse is redone with s from its own M. s is run state. Pure functions of
// integers, so every rank decides alike. Bound: |q| < 2^limit, limit = min(51, 62 - ceil(log2 units)); 4 bits
// of headroom and 7 bits of tolerated shrinking keep each element of the sum right to U * 2^-40 of the
// tensor's largest element (11 bits, as required).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lepton::exact {

constexpr int headroom_bits = 4;
constexpr int coarse_bits = 7;
constexpr int no_magnitude = INT32_MIN;         ///< M of a tensor without non-zero elements
constexpr uint32_t infinity_bits = 0x7f800000;  ///< magnitudes from here on are not finite

/// min(51, 62 - ceil(log2 contributions)): of all units of a step to one element, each of them one, or as
/// many as nodes share a tensor; >= 1. Sums then stay below 2^62.
int limit_bits(int64_t contributions);

/// The exponent e with 2^e <= |g| < 2^(e+1) from float32 bits without sign; subnormals count as -127; zero:
/// no_magnitude.
int magnitude_exponent(uint32_t magnitude_bits);

/// s for values below 2^(magnitude + 1), with headroom.
int scale_for(int magnitude, int limit);

enum class ScaleVerdict { accept, redo };

class Scales {
 public:
  explicit Scales(int tensors);
  /// Scales for the next attempt of a step of this many units.
  std::span<const int> current() const { return scales_; }
  /// The first magnitude (float32 bits) that overflows under tensor t's scale: quantising tests against it.
  uint32_t overflow_bits(int tensor, int limit) const;
  /// After an attempt with these magnitudes (M per tensor): accept, and set the scales for the next step; or
  /// redo, and set the scales for the next attempt from this M.
  ScaleVerdict settle(std::span<const int> magnitudes, int limit);
  /// Run state.
  std::vector<int> state() const { return scales_; }
  void restore(std::span<const int> scales);
  uint64_t hash() const;  ///< for the ledger

 private:
  std::vector<int> scales_;
};

}  // namespace lepton::exact
