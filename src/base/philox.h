// SPDX-License-Identifier: Apache-2.0
// Philox 4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
// easy as 1, 2, 3", SC11. No state exists: number = function of (key, counter). Lepton's key is a 64-bit hash
// of (seed, purpose, layer); its counter {element/4, sample low, sample high, step} (DESIGN section 1, rule
// 6). Callable from CUDA: LEPTON_HD is empty for the host compiler.
#pragma once

#include <array>
#include <cstdint>

#ifdef __CUDACC__
#define LEPTON_HD __host__ __device__
#define LEPTON_HD_ELEMENT __host__ __device__
#else
#define LEPTON_HD
/// For the body of a loop that is compiled for several vector widths (base/simd.h): a call left in it would
/// keep it from vectorising.
#define LEPTON_HD_ELEMENT [[gnu::always_inline]]
#endif

namespace lepton {

using PhiloxCounter = std::array<uint32_t, 4>;

LEPTON_HD inline PhiloxCounter philox4x32(uint64_t key, PhiloxCounter c) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// A bijective mix of 64 bits (splitmix64's finaliser, Steele, Lea and Flood 2014).
LEPTON_HD inline constexpr uint64_t mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// What a stream of random numbers is for; part of the key, so streams never overlap.
enum class Purpose : uint64_t {
  initial_values = 1,
  dropout = 2,
  shuffle = 3,
  split = 4,
  fingerprint = 5,
  generate = 6,
  augment = 7
};

LEPTON_HD inline constexpr uint64_t stream_key(uint64_t seed, Purpose purpose, uint64_t layer) {
  return mix64(mix64(mix64(seed) ^ static_cast<uint64_t>(purpose)) ^ layer);
}

/// Uniform in [0, 1): the top 24 bits, exactly representable in float32.
LEPTON_HD inline float uniform01(uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

}  // namespace lepton
