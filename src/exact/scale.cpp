// SPDX-License-Identifier: Apache-2.0
// Scales from magnitudes. With s the scale, L the limit and M the magnitude, the largest |q| lies in
// [2^(M+s), 2^(M+s+1)); room = L - (M + 1 + s) is the number of leading bits it leaves unused below the
// limit.
//   room < 0                             overflow: some value may have been dropped; redo
//   room > headroom_bits + coarse_bits   too coarse; redo
// A new scale has room = headroom_bits for its own M, so the same gradients are accepted the second time.
// Error: U roundings (times the nodes that share a tensor) of at most 2^(-s-1) each. In the worst accepted
// case s = L - M - 12, so the error is at most U * 2^(M+11-L) <= U * 2^-40 * 2^M for L = 51, that is U <=
// 2,048. The parts before and after the decimal point of DESIGN's rule 1. Called by the accumulator's owner
// in train.
#include "exact/scale.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/hash.h"

namespace lepton::exact {

static constexpr int first_magnitude = 0;  // of the first attempt of a run

int limit_bits(int64_t contributions) {
  CHECK(contributions >= 1, "a step of no units");
  const int log2 = static_cast<int>(std::bit_width(static_cast<uint64_t>(contributions - 1)));  // rounded up
  return std::min(51, 62 - log2);
}

int magnitude_exponent(uint32_t magnitude_bits) {
  CHECK(magnitude_bits < infinity_bits, "magnitudes are finite");
  if (magnitude_bits == 0) return no_magnitude;
  return static_cast<int>(magnitude_bits >> 23) - 127;  // a subnormal's field is 0: it is below 2^-126
}

int scale_for(int magnitude, int limit) {
  CHECK(magnitude != no_magnitude, "a zero tensor has no scale of its own");
  return limit - headroom_bits - (magnitude + 1);
}

Scales::Scales(int tensors) : scales_(static_cast<size_t>(tensors), scale_for(first_magnitude, 51)) {}

uint32_t Scales::overflow_bits(int tensor, int limit) const {
  const int exponent = limit - scales_[tensor];  // |g| 2^s >= 2^limit from |g| = 2^(limit - s) on
  if (exponent > 127) return infinity_bits;
  if (exponent < -126) return 1;  // below the normal range any non-zero value overflows
  return static_cast<uint32_t>(exponent + 127) << 23;
}

ScaleVerdict Scales::settle(std::span<const int> magnitudes, int limit) {
  CHECK(magnitudes.size() == scales_.size(), "one magnitude per tensor");
  ScaleVerdict verdict = ScaleVerdict::accept;
  for (size_t t = 0; t < scales_.size(); ++t) {
    if (magnitudes[t] == no_magnitude) continue;
    const int room = limit - (magnitudes[t] + 1 + scales_[t]);
    if (room < 0 || room > headroom_bits + coarse_bits) verdict = ScaleVerdict::redo;
    scales_[t] = scale_for(magnitudes[t], limit);
  }
  return verdict;
}

void Scales::restore(std::span<const int> scales) {
  CHECK(scales.size() == scales_.size(), "one scale per tensor");
  scales_.assign(scales.begin(), scales.end());
}

uint64_t Scales::hash() const {
  return hash64_of(std::span<const int>(scales_));
}

}  // namespace lepton::exact
