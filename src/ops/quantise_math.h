// SPDX-License-Identifier: Apache-2.0
// Fixed point of one element, once for host and CUDA, with the same bits (quantise.h has the meaning).
// Rounding uses a constant instead of an instruction: for |x| < 2^51 the double x + 1.5 * 2^52 has a unit in
// the last place of 1, so the addition itself rounds x to the nearest integer, ties to even, and leaves it in
// the low bits. A namespace of its own, because tests compile the loops over these functions in several
// namespaces. The loops: ops/quantise.cpp, kernels/quantise.cu, kernels/update.cu.
#pragma once

#include <bit>
#include <cstdint>

#include "base/philox.h"

namespace lepton::fixed_point {

inline constexpr double rounder = 0x1.8p52;

/// 2^n, for n in the normal range of doubles.
LEPTON_HD_ELEMENT inline double power_of_two(int n) {
  return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52);
}

/// The rounded g * factor modulo 2^64; any integer where that is 2^51 or larger, Inf or NaN.
LEPTON_HD_ELEMENT inline uint64_t quantised(float g, double factor) {
  return std::bit_cast<uint64_t>(static_cast<double>(g) * factor + rounder) -
         std::bit_cast<uint64_t>(rounder);
}

/// The conversion rounds once, to float; the scaling is exact but for subnormal results.
LEPTON_HD_ELEMENT inline float dequantised(int64_t sum, double factor) {
  return static_cast<float>(static_cast<double>(static_cast<float>(sum)) * factor);
}

/// |g| as an integer of the same order; Inf and NaN come last.
LEPTON_HD_ELEMENT inline uint32_t magnitude_bits(float g) {
  return std::bit_cast<uint32_t>(g) & 0x7fffffffu;
}

}  // namespace lepton::fixed_point
