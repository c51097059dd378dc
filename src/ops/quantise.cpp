// SPDX-License-Identifier: Apache-2.0
// Float gradients to 64-bit fixed point and back (see quantise.h). Rounding uses a constant instead of an
// instruction: for |x| < 2^51 the double x + 1.5 * 2^52 has a unit in the last place of 1, so the addition
// itself rounds x to the nearest integer, ties to even, and leaves it in the low bits. Every vector width
// gives the same bits, and the loops are limited by memory. Called by exact/accumulator; the hottest loop but
// for the products.
#include "ops/quantise.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/simd.h"

namespace lepton::ops {

static constexpr double rounder = 0x1.8p52;

// 2^n, for n in the normal range of doubles.
static double power_of_two(int n) {
  CHECK(n >= -1000 && n <= 1000, "scale " + std::to_string(n));
  return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52);
}

uint32_t power_of_two_bits(int exponent) {
  return static_cast<uint32_t>(std::clamp(exponent, -126, 127) + 127) << 23;
}

[[gnu::always_inline]] static inline uint64_t quantised(float g, double factor) {
  return std::bit_cast<uint64_t>(static_cast<double>(g) * factor + rounder) -
         std::bit_cast<uint64_t>(rounder);
}

LEPTON_SIMD static Quantised quantise_loop(const float* __restrict g, double factor, int64_t* __restrict sum,
                                           int64_t count) {
  uint64_t check = 0;
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t q = quantised(g[i], factor);
    sum[i] = static_cast<int64_t>(static_cast<uint64_t>(sum[i]) + q);
    check += q;
    largest = std::max(largest, std::bit_cast<uint32_t>(g[i]) & 0x7fffffffu);
  }
  return {check, largest};
}

Quantised quantise_add(std::span<const float> g, int scale, std::span<int64_t> sum) {
  CHECK(g.size() == sum.size(), "spans of one length");
  return quantise_loop(g.data(), power_of_two(scale), sum.data(), static_cast<int64_t>(g.size()));
}

LEPTON_SIMD static void take_back_loop(const float* __restrict g, double factor, int64_t* __restrict sum,
                                       int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    sum[i] = static_cast<int64_t>(static_cast<uint64_t>(sum[i]) - quantised(g[i], factor));
}

void quantise_take_back(std::span<const float> g, int scale, std::span<int64_t> sum) {
  CHECK(g.size() == sum.size(), "spans of one length");
  take_back_loop(g.data(), power_of_two(scale), sum.data(), static_cast<int64_t>(g.size()));
}

LEPTON_SIMD static uint64_t checksum_loop(const int64_t* sum, int64_t count) {
  uint64_t check = 0;
  for (int64_t i = 0; i < count; ++i) check += static_cast<uint64_t>(sum[i]);
  return check;
}

uint64_t checksum(std::span<const int64_t> sum) {
  return checksum_loop(sum.data(), static_cast<int64_t>(sum.size()));
}

// The conversion rounds once, to float; the scaling is exact but for subnormal results.
LEPTON_SIMD static void dequantise_loop(const int64_t* __restrict sum, double factor, float* __restrict g,
                                        int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    g[i] = static_cast<float>(static_cast<double>(static_cast<float>(sum[i])) * factor);
}

void dequantise(std::span<const int64_t> sum, int scale, std::span<float> g) {
  CHECK(g.size() == sum.size(), "spans of one length");
  dequantise_loop(sum.data(), power_of_two(-scale), g.data(), static_cast<int64_t>(g.size()));
}

LEPTON_SIMD static double square_loop(const float* g, int64_t count) {
  constexpr int64_t lanes = 16;
  double sum[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (int64_t k = 0; k < lanes; ++k)
      sum[k] += static_cast<double>(g[i + k]) * static_cast<double>(g[i + k]);
  for (int64_t k = 0; i + k < count; ++k)
    sum[k] += static_cast<double>(g[i + k]) * static_cast<double>(g[i + k]);
  for (int64_t half = lanes / 2; half > 0; half /= 2)
    for (int64_t k = 0; k < half; ++k) sum[k] += sum[k + half];
  return sum[0];
}

double sum_of_squares(std::span<const float> g) {
  return square_loop(g.data(), static_cast<int64_t>(g.size()));
}

}  // namespace lepton::ops
