// SPDX-License-Identifier: Apache-2.0
// Float gradients to 64-bit fixed point and back (see quantise.h): loops over the functions of
// quantise_math.h. Every vector width gives the same bits, and the loops are limited by memory. Called by
// exact/accumulator; the hottest loop but for the products.
#include "ops/quantise.h"

#include <algorithm>

#include "base/error.h"
#include "base/simd.h"
#include "ops/quantise_math.h"

namespace lepton::ops {

static double power_of_two(int n) {
  CHECK(n >= -1000 && n <= 1000, "scale " + std::to_string(n));
  return fixed_point::power_of_two(n);
}

uint32_t power_of_two_bits(int exponent) {
  return static_cast<uint32_t>(std::clamp(exponent, -126, 127) + 127) << 23;
}

LEPTON_SIMD static Quantised quantise_loop(const float* __restrict g, double factor, int64_t* __restrict sum,
                                           int64_t count) {
  uint64_t check = 0;
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t q = fixed_point::quantised(g[i], factor);
    sum[i] = static_cast<int64_t>(static_cast<uint64_t>(sum[i]) + q);
    check += q;
    largest = std::max(largest, fixed_point::magnitude_bits(g[i]));
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
    sum[i] = static_cast<int64_t>(static_cast<uint64_t>(sum[i]) - fixed_point::quantised(g[i], factor));
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

LEPTON_SIMD static void dequantise_loop(const int64_t* __restrict sum, double factor, float* __restrict g,
                                        int64_t count) {
  for (int64_t i = 0; i < count; ++i) g[i] = fixed_point::dequantised(sum[i], factor);
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
