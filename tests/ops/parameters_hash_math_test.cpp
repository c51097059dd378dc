// SPDX-License-Identifier: Apache-2.0
// The hash of a block in the parts that device threads share gives the bits of parameters_block_hash for
// every length that an arena's last block may have, whoever takes which stripes: here as
// kernels/parameters_hash.cu does it, with a thread's stripes of a round 1, 2, 4 or 16 apart.
#include "ops/parameters_hash_math.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <random>
#include <vector>

#include "ops/parameters_hash.h"
#include "tensor/arena.h"

namespace lepton::ops {
namespace {

std::vector<float> random_bits(size_t elements, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<float> arena(elements);
  for (float& value : arena) value = std::bit_cast<float>(static_cast<uint32_t>(engine()));
  return arena;
}

/// What one of `threads` threads of a lane adds in a round.
xxh3::Addends addends_of(const std::vector<uint64_t>& words, int round, int lane, int thread, int threads) {
  const auto stripes = static_cast<int>(words.size()) / xxh3::lanes;
  xxh3::Addends addends;
  for (int n = thread; n < xxh3::round_stripes; n += threads) {
    const int stripe = round * xxh3::round_stripes + n;
    if (stripe >= stripes) break;
    xxh3::add_word(addends, words[static_cast<size_t>(stripe * xxh3::lanes + lane)],
                   xxh3::stripe_key(xxh3::published, stripe, stripes, lane));
  }
  return addends;
}

uint64_t hash_by_threads(const std::vector<float>& block, int threads) {
  std::vector<uint64_t> words(block.size() / 2);
  std::memcpy(words.data(), block.data(), block.size() * sizeof(float));
  const auto bytes = static_cast<int64_t>(block.size() * sizeof(float));
  if (bytes <= xxh3::short_bytes_max)
    return xxh3::short_hash(xxh3::published, words.data(), static_cast<int>(bytes));
  std::array<uint64_t, xxh3::lanes> accumulators;
  for (int lane = 0; lane < xxh3::lanes; ++lane) accumulators[lane] = xxh3::published.initial[lane];
  const int rounds =
      (static_cast<int>(bytes) / xxh3::stripe_bytes + xxh3::round_stripes - 1) / xxh3::round_stripes;
  for (int round = 0; round < rounds; ++round) {
    for (int lane = 0; lane < xxh3::lanes; ++lane)
      for (int thread = 0; thread < threads; ++thread) {
        const xxh3::Addends addends = addends_of(words, round, lane, thread, threads);
        accumulators[lane] += addends.products;
        accumulators[lane ^ 1] += addends.words;
      }
    if (round + 1 == rounds) break;
    for (int lane = 0; lane < xxh3::lanes; ++lane)
      accumulators[lane] = xxh3::scrambled(xxh3::published, accumulators[lane], lane);
  }
  uint64_t pairs = 0;
  for (int lane = 0; lane < xxh3::lanes; lane += 2)
    pairs += xxh3::merged_pair(xxh3::published, accumulators[lane], accumulators[lane + 1], lane);
  return xxh3::finished(pairs, bytes);
}

TEST(ParametersHashMath, GivesTheBitsOfTheHostForEveryLength) {
  for (size_t elements = 16; elements <= block_elements; elements += 16) {
    const std::vector<float> block = random_bits(elements, static_cast<uint32_t>(elements));
    for (const int threads : {1, 2, 4, 16})
      EXPECT_EQ(hash_by_threads(block, threads), parameters_block_hash(block, 0))
          << elements << " elements, " << threads << " threads for a lane";
  }
}

TEST(ParametersHashMath, ZerosAndOnes) {
  for (const size_t elements :
       {size_t{16}, size_t{32}, size_t{48}, size_t{64}, size_t{256}, size_t{272}, size_t{4096}})
    for (const float value : {0.0f, -0.0f, 1.0f, std::bit_cast<float>(0xffffffffu)}) {
      const std::vector<float> block(elements, value);
      EXPECT_EQ(hash_by_threads(block, 4), parameters_block_hash(block, 0)) << elements << " of " << value;
    }
}

TEST(ParametersHashMath, TheSecretMayBeReadAtAnyByte) {
  std::array<uint8_t, sizeof(xxh3::published.secret)> bytes;
  std::memcpy(bytes.data(), &xxh3::published, bytes.size());
  for (size_t byte = 0; byte + 8 <= bytes.size(); ++byte) {
    uint64_t expected;
    std::memcpy(&expected, bytes.data() + byte, 8);
    EXPECT_EQ(xxh3::secret_at(xxh3::published, static_cast<int>(byte)), expected) << "byte " << byte;
  }
}

}  // namespace
}  // namespace lepton::ops
