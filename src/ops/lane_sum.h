// SPDX-License-Identifier: Apache-2.0
// Sums in sixteen lanes by index, folded pairwise: an order that is written out, so the bits do not depend on
// the machine, and that vectorises. Called by layer_norm and attention, in functions with clones
// (base/simd.h).
#pragma once

#include <cstdint>

namespace lepton::ops {

constexpr int64_t sum_lanes = 16;

/// Sum over i of term(i), lane i modulo 16.
template <class Term>
[[gnu::always_inline]] inline float lane_sum(int64_t count, const Term& term) {
  float sum[sum_lanes] = {};
  int64_t i = 0;
  for (; i + sum_lanes <= count; i += sum_lanes)
    for (int64_t k = 0; k < sum_lanes; ++k) sum[k] += term(i + k);
  for (int64_t k = 0; i + k < count; ++k) sum[k] += term(i + k);
  for (int64_t half = sum_lanes / 2; half > 0; half /= 2)
    for (int64_t k = 0; k < half; ++k) sum[k] += sum[k + half];
  return sum[0];
}

}  // namespace lepton::ops
