// SPDX-License-Identifier: Apache-2.0
// XXH3, 64 bits, seed 0 (Collet, xxHash's doc/xxhash_spec.md, "XXH3"), in parts that several threads share,
// for input whose bytes are a multiple of 64: the twin of ops::parameters_block_hash on devices. Input is
// stripes of 64 bytes, a word for each of 8 lanes; 16 stripes are a round. Within a round all a stripe does
// to its lane's accumulator is to add, modulo 2^64, so a round's stripes may be taken in any order and by any
// thread. Called by kernels/parameters_hash.cu; tests/ops/parameters_hash_math_test holds it against
// base/hash.
#pragma once

#include <cstdint>

#include "base/int128.h"
#include "base/philox.h"

namespace lepton::ops::xxh3 {

constexpr int lanes = 8, round_stripes = 16, stripe_bytes = 64;
constexpr int64_t short_bytes_max = 240;  ///< up to here short_hash, beyond lanes
constexpr uint64_t prime32_1 = 0x9e3779b1u, prime32_2 = 0x85ebca77u, prime32_3 = 0xc2b2ae3du;
constexpr uint64_t prime64_1 = 0x9e3779b185ebca87u, prime64_2 = 0xc2b2ae3d27d4eb4fu,
                   prime64_3 = 0x165667b19e3779f9u, prime64_4 = 0x85ebca77c2b2ae63u,
                   prime64_5 = 0x27d4eb2f165667c5u;

/// Constants of the algorithm. Functions are handed them, because a device keeps a copy in its own memory.
struct Table {
  uint64_t secret[24];      ///< the specification's 192 bytes, lowest byte first
  uint64_t initial[lanes];  ///< accumulators before the first round
};
// clang-format off
inline constexpr Table published = {{
    0xbe4ba423396cfeb8u, 0x1cad21f72c81017cu, 0xdb979083e96dd4deu, 0x1f67b3b7a4a44072u,
    0x78e5c0cc4ee679cbu, 0x2172ffcc7dd05a82u, 0x8e2443f7744608b8u, 0x4c263a81e69035e0u,
    0xcb00c391bb52283cu, 0xa32e531b8b65d088u, 0x4ef90da297486471u, 0xd8acdea946ef1938u,
    0x3f349ce33f76faa8u, 0x1d4f0bc7c7bbdcf9u, 0x3159b4cd4be0518au, 0x647378d9c97e9fc8u,
    0xc3ebd33483acc5eau, 0xeb6313faffa081c5u, 0x49daf0b751dd0d17u, 0x9e68d429265516d3u,
    0xfca1477d58be162bu, 0xce31d07ad1b8f88fu, 0x280416958f3acb45u, 0x7e404bbbcafbd7afu},
    {prime32_3, prime64_1, prime64_2, prime64_3, prime64_4, prime32_2, prime64_5, prime32_1}};
// clang-format on

/// The word that begins at a byte of the secret.
LEPTON_HD inline uint64_t secret_at(const Table& table, int byte) {
  const int word = byte / 8, shift = byte % 8 * 8;
  return shift == 0 ? table.secret[word]
                    : table.secret[word] >> shift | table.secret[word + 1] << (64 - shift);
}

LEPTON_HD inline uint64_t folded_product(uint64_t a, uint64_t b) {
  const uint128 product = static_cast<uint128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

LEPTON_HD inline uint64_t avalanche(uint64_t hash) {
  hash = (hash ^ hash >> 37) * 0x165667919e3779f9u;
  return hash ^ hash >> 32;
}

// ---- long input, lane by lane

/// The key of a lane in one of `stripes` stripes; the last has its own.
LEPTON_HD inline uint64_t stripe_key(const Table& table, int stripe, int stripes, int lane) {
  return stripe + 1 == stripes ? secret_at(table, 121 + 8 * lane)
                               : table.secret[stripe % round_stripes + lane];
}

/// What stripes of one round add: `products` to their own lane's accumulator, `words` to that of lane ^ 1.
struct Addends {
  uint64_t products = 0, words = 0;
};
LEPTON_HD inline void add_word(Addends& addends, uint64_t word, uint64_t key) {
  const uint64_t mixed = word ^ key;
  addends.products += (mixed & 0xffffffffu) * (mixed >> 32);
  addends.words += word;
}

/// After every round but the last, which the last stripe belongs to, full or not.
LEPTON_HD inline uint64_t scrambled(const Table& table, uint64_t accumulator, int lane) {
  return (accumulator ^ accumulator >> 47 ^ table.secret[16 + lane]) * prime32_1;
}

/// What lanes `lane` (even) and lane + 1 give to the hash at the end.
LEPTON_HD inline uint64_t merged_pair(const Table& table, uint64_t even, uint64_t odd, int lane) {
  return folded_product(even ^ secret_at(table, 11 + 8 * lane), odd ^ secret_at(table, 19 + 8 * lane));
}
LEPTON_HD inline uint64_t finished(uint64_t sum_of_pairs, int64_t bytes) {
  return avalanche(sum_of_pairs + static_cast<uint64_t>(bytes) * prime64_1);
}

// ---- short input: 64, 128 or 192 bytes

LEPTON_HD inline uint64_t mixed_16_bytes(const Table& table, const uint64_t* words, int secret_byte) {
  return folded_product(words[0] ^ secret_at(table, secret_byte),
                        words[1] ^ secret_at(table, secret_byte + 8));
}

LEPTON_HD inline uint64_t short_hash(const Table& table, const uint64_t* words, int bytes) {
  uint64_t sum = static_cast<uint64_t>(bytes) * prime64_1;
  const int pieces = bytes / 16;  // of 16 bytes
  if (bytes <= 128) {
    for (int i = 0; i < pieces / 2; ++i)
      sum += mixed_16_bytes(table, words + 2 * i, 32 * i) +
             mixed_16_bytes(table, words + 2 * (pieces - 1 - i), 32 * i + 16);
    return avalanche(sum);
  }
  for (int i = 0; i < 8; ++i) sum += mixed_16_bytes(table, words + 2 * i, 16 * i);
  sum = avalanche(sum);
  for (int i = 8; i < pieces; ++i) sum += mixed_16_bytes(table, words + 2 * i, 16 * (i - 8) + 3);
  return avalanche(sum + mixed_16_bytes(table, words + 2 * (pieces - 1), 119));
}

}  // namespace lepton::ops::xxh3
