// SPDX-License-Identifier: Apache-2.0
// ExactSum: the sum of any doubles in any order, exactly (a fixed-point accumulator that spans the whole
// double range, after Kulisch, "Computer Arithmetic and Validity", 2008). Addition and merging are integer
// additions, hence associative and commutative: the value does not depend on who added what when.
// It serves every scalar that is summed over samples: loss, weights, squared norms, statistics, errors.
// DESIGN asks for 128-bit lanes at fixed scales; the full range costs 544 bytes a scalar and has no scale to
// choose and no overflow to redo, so it replaces them.
// Invariant: limbs are plain int64, so a reduction may add them as integers. Any number of additions is safe:
// add() and merge() carry when a limb comes near its limit. Before limbs leave the object (a reduction, a
// hash, a file), normalise() them: 2^30 normalised sums may then be added limb by limb.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/int128.h"

namespace lepton {

class ExactSum {
 public:
  /// Limb i holds units of 2^(32 i - 1074): 66 limbs of 32 bits cover 2^-1074 .. 2^1038, limb 66 is the carry
  /// out of them and the sign, limb 67 counts Inf and NaN.
  static constexpr int limb_count = 68;

  /// += value. Inf or NaN poison the sum: value() is then NaN.
  void add(double value);
  /// += a * b without rounding, as long as the product has no bits below 2^-1074; a product that has is
  /// rounded to a multiple of 2^-1074 (ties to even), still a function of a and b alone. Above 2^1024 it
  /// poisons.
  void add_product(double a, double b);
  void merge(const ExactSum& other);
  /// Carries into canonical form: limbs 0 .. 65 in [0, 2^32), the sign in limb 66. Equal sums then have equal
  /// limbs. Needed before limbs are hashed, sent, or added by anyone but merge().
  void normalise();
  /// The double nearest to the exact sum (ties to even); +-Inf where that is beyond the largest double.
  double value() const;
  bool poisoned() const { return limbs_[limb_count - 1] != 0; }

  std::span<const int64_t> limbs() const { return limbs_; }
  std::span<int64_t> limbs() { return limbs_; }
  /// Whether the sums are equal, normalised or not.
  bool operator==(const ExactSum& other) const;

 private:
  void add_scaled(uint128 magnitude, int position, bool negative);
  std::array<int64_t, limb_count> limbs_{};
};

}  // namespace lepton
