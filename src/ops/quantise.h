// SPDX-License-Identifier: Apache-2.0
// Float gradients to 64-bit fixed point and back: the innermost loops of exact sums (DESIGN section 1).
// q = round to nearest, ties to even, of g * 2^scale. The same bits on every instruction set.
#pragma once

#include <cstdint>
#include <span>

namespace lepton::ops {

/// The float32 bits of 2^exponent, for comparison with magnitude_bits (clamped to finite, normal range).
uint32_t power_of_two_bits(int exponent);

struct Quantised {
  uint64_t check = 0;  ///< sum of the q_i modulo 2^64
  /// The largest |g| as float32 bits without the sign; integer order equals float order, Inf and NaN come
  /// last
  /// (>= 0x7f800000). 0 for an empty or all-zero span.
  uint32_t magnitude_bits = 0;
};

/// sum[i] += q_i modulo 2^64, and in the same pass a linear checksum, so that checksums of blocks add up like
/// the blocks do and any single flipped bit shows (+-2^k is never 0 modulo 2^64), and the magnitude. q_i is
/// the rounded g[i] * 2^scale where that is below 2^51; where the magnitude says that one is not, the caller
/// takes all of it back.
Quantised quantise_add(std::span<const float> g, int scale, std::span<int64_t> sum);
/// sum[i] -= the same q_i, whatever they are: Inf, NaN and what overflows included.
void quantise_take_back(std::span<const float> g, int scale, std::span<int64_t> sum);

/// Sum of all elements modulo 2^64.
uint64_t checksum(std::span<const int64_t> sum);

/// g[i] = float32 nearest to sum[i], times 2^-scale.
void dequantise(std::span<const int64_t> sum, int scale, std::span<float> g);

/// Sum of squares in double in fixed order (16 lanes by index modulo 16, folded pairwise): block norms.
double sum_of_squares(std::span<const float> g);

}  // namespace lepton::ops
