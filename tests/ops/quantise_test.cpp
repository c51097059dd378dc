// SPDX-License-Identifier: Apache-2.0
// Quantising against exact integer arithmetic: every rounding case, sums, checksums, extremes of scale.
#include "ops/quantise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace lepton::ops {
namespace {

__extension__ using Wide = __int128;

// g * 2^scale to the nearest integer, ties to even, from the bits of g in 128-bit integers.
int64_t exact(float g, int scale) {
  const uint32_t bits = std::bit_cast<uint32_t>(g);
  const int raw = static_cast<int>(bits >> 23 & 0xff);
  const Wide mantissa = (bits & 0x7fffffu) | (raw ? 0x800000u : 0u);
  const int shift = (raw ? raw : 1) - 150 + scale;
  Wide q = 0;
  if (shift >= 0) {
    q = mantissa << shift;
  } else if (shift > -60) {
    const Wide unit = static_cast<Wide>(1) << -shift, rest = mantissa % unit;
    q = mantissa / unit;
    if (2 * rest > unit || (2 * rest == unit && q % 2 == 1)) ++q;
  }
  return static_cast<int64_t>(bits >> 31 ? -q : q);
}

uint32_t magnitude_bits_of(const std::vector<float>& g) {
  std::vector<int64_t> sum(g.size());
  return quantise_add(g, 0, sum).magnitude_bits;
}

void expect_exact(const std::vector<float>& g, int scale) {
  std::vector<int64_t> sum(g.size());
  for (size_t i = 0; i < g.size(); ++i) sum[i] = static_cast<int64_t>(i * 0x9e3779b97f4a7c15u);
  const std::vector<int64_t> before = sum;
  const uint64_t check = quantise_add(g, scale, sum).check;
  uint64_t want_check = 0;
  for (size_t i = 0; i < g.size(); ++i) {
    const uint64_t q = static_cast<uint64_t>(exact(g[i], scale));
    want_check += q;
    ASSERT_EQ(static_cast<uint64_t>(sum[i]), static_cast<uint64_t>(before[i]) + q)
        << g[i] << " scale " << scale;
  }
  EXPECT_EQ(check, want_check);
}

TEST(Quantise, TiesGoToEven) {
  std::vector<float> g;
  for (int i = -40; i <= 40; ++i) g.push_back(static_cast<float>(i) * 0.25f);
  for (const int scale : {-1, 0, 1, 2}) expect_exact(g, scale);
  std::vector<int64_t> sum(4);
  quantise_add(std::vector<float>{0.5f, 1.5f, 2.5f, -2.5f}, 0, sum);
  EXPECT_EQ(sum, (std::vector<int64_t>{0, 2, 2, -2}));
}

TEST(Quantise, RandomBitsOfAnyMagnitude) {
  std::mt19937_64 engine(5);
  for (int round = 0; round < 200; ++round) {
    const int scale = static_cast<int>(engine() % 300) - 120;
    std::vector<float> g(1 + engine() % 200);
    for (float& value : g) do {
        value = std::bit_cast<float>(static_cast<uint32_t>(engine()));
      } while (!(std::abs(std::ldexp(static_cast<double>(value), scale)) < 0x1p51));
    expect_exact(g, scale);
  }
}

TEST(Quantise, EdgeOfTheRange) {
  const float top = std::nextafter(0x1p51f, 0.0f);
  expect_exact({top, -top, 0.0f, -0.0f, 1e-45f, -1e-45f}, 0);
  expect_exact({1e-45f, -1e-45f, 3e-45f}, 190);
  expect_exact({std::numeric_limits<float>::max()}, -80);
}

TEST(Quantise, EveryLengthAndOffset) {
  std::mt19937 engine(3);
  std::normal_distribution<float> normal;
  std::vector<float> g(100);
  for (float& value : g) value = normal(engine);
  for (size_t offset = 0; offset < 17; ++offset)
    for (size_t length = 0; length + offset <= 70; ++length)
      expect_exact({g.begin() + static_cast<long>(offset), g.begin() + static_cast<long>(offset + length)},
                   40);
}

TEST(Quantise, MaximumIsByMagnitude) {
  EXPECT_EQ(magnitude_bits_of({}), 0u);
  EXPECT_EQ(magnitude_bits_of(std::vector<float>{0.0f, -0.0f}), 0u);
  EXPECT_EQ(magnitude_bits_of(std::vector<float>{1, -3, 2}), std::bit_cast<uint32_t>(3.0f));
  for (size_t at = 0; at < 50; ++at) {
    std::vector<float> g(50, 0.5f);
    g[at] = -INFINITY;
    EXPECT_EQ(magnitude_bits_of(g), 0x7f800000u);
    g[at] = NAN;
    EXPECT_GT(magnitude_bits_of(g), 0x7f800000u);
  }
}

TEST(Quantise, WhatIsTakenBackIsGone) {
  std::mt19937_64 engine(9);
  std::vector<float> g(1000);
  std::vector<int64_t> sum(1000);
  for (int trial = 0; trial < 100; ++trial) {
    for (float& value : g)
      value = std::bit_cast<float>(static_cast<uint32_t>(engine()));  // Inf and NaN among them
    for (int64_t& value : sum) value = static_cast<int64_t>(engine());
    const std::vector<int64_t> before = sum;
    quantise_add(g, 40, sum);
    EXPECT_NE(sum, before);
    quantise_take_back(g, 40, sum);
    EXPECT_EQ(sum, before);
  }
}

TEST(Quantise, PowerOfTwoBits) {
  EXPECT_EQ(power_of_two_bits(0), std::bit_cast<uint32_t>(1.0f));
  EXPECT_EQ(power_of_two_bits(-3), std::bit_cast<uint32_t>(0.125f));
  EXPECT_EQ(power_of_two_bits(1000), std::bit_cast<uint32_t>(0x1p127f));
  EXPECT_EQ(power_of_two_bits(-1000), std::bit_cast<uint32_t>(0x1p-126f));
}

TEST(Quantise, ChecksumIsLinearAndSeesEveryBit) {
  std::mt19937_64 engine(8);
  std::vector<int64_t> sum(37);
  for (int64_t& value : sum) value = static_cast<int64_t>(engine());
  const uint64_t whole = checksum(sum);
  const std::span<const int64_t> all(sum);
  EXPECT_EQ(whole, checksum(all.first(11)) + checksum(all.subspan(11)));
  for (size_t i = 0; i < sum.size(); ++i)
    for (int bit = 0; bit < 64; ++bit) {
      sum[i] ^= static_cast<int64_t>(uint64_t{1} << bit);
      ASSERT_NE(checksum(sum), whole);
      sum[i] ^= static_cast<int64_t>(uint64_t{1} << bit);
    }
}

TEST(Quantise, DequantiseRoundsOnce) {
  std::mt19937_64 engine(9);
  std::vector<int64_t> sum(1000);
  for (int64_t& value : sum) value = static_cast<int64_t>(engine()) >> (engine() % 50);
  sum[0] = (int64_t{1} << 60) + (int64_t{1} << 36);      // a tie in float
  sum[1] = (int64_t{1} << 60) + (int64_t{1} << 36) + 1;  // just above it; through double it would be the tie
  std::vector<float> g(sum.size());
  for (const int scale : {-30, 0, 40, 100, 190}) {
    dequantise(sum, scale, g);
    for (size_t i = 0; i < sum.size(); ++i)
      ASSERT_EQ(g[i],
                static_cast<float>(std::ldexp(static_cast<long double>(static_cast<float>(sum[i])), -scale)));
  }
  dequantise(sum, 0, g);
  EXPECT_LT(g[0], g[1]);
}

TEST(Quantise, SumOfSquaresInItsFixedOrder) {
  std::mt19937 engine(3);
  std::normal_distribution<float> normal;
  for (const size_t count : {size_t{0}, size_t{5}, size_t{16}, size_t{1003}}) {
    std::vector<float> g(count);
    for (float& value : g) value = normal(engine);
    double lane[16] = {};
    for (size_t i = 0; i < count; ++i) lane[i % 16] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
    for (int half = 8; half; half /= 2)
      for (int k = 0; k < half; ++k) lane[k] += lane[k + half];
    EXPECT_EQ(sum_of_squares(g), lane[0]);
  }
}

}  // namespace
}  // namespace lepton::ops
