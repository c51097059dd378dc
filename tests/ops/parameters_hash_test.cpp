// SPDX-License-Identifier: Apache-2.0
// parameters_hash: block by block is the same as all at once, and every bit of every element counts, its
// place too.
#include "ops/parameters_hash.h"

#include <gtest/gtest.h>

#include <bit>
#include <set>
#include <vector>

#include "base/hash.h"
#include "tensor/arena.h"

namespace lepton::ops {
namespace {

std::vector<float> sample_arena(size_t elements) {
  std::vector<float> arena(elements);
  for (size_t i = 0; i < elements; ++i) arena[i] = static_cast<float>(i) * 0.25f - 100;
  return arena;
}

TEST(ParametersHash, IsTheHashOfTheBlockHashes) {
  for (const size_t elements : {size_t{16}, size_t{4096}, size_t{4112}, size_t{3 * 4096}, size_t{20'000}}) {
    const std::vector<float> arena = sample_arena(elements);
    std::vector<uint64_t> hashes;
    for (size_t begin = 0; begin < elements; begin += block_elements) {
      hashes.push_back(parameters_block_hash(arena, static_cast<int64_t>(hashes.size())));
      const size_t count = std::min<size_t>(block_elements, elements - begin);
      EXPECT_EQ(hashes.back(), hash64_of<float>(std::span<const float>(arena).subspan(begin, count)));
    }
    EXPECT_EQ(parameters_hash(arena), combine_block_hashes(hashes));
    EXPECT_EQ(parameters_hash(arena), hash64_of<uint64_t>(hashes));
  }
}

TEST(ParametersHash, EveryBitCounts) {
  std::vector<float> arena = sample_arena(4096 + 16);
  const uint64_t before = parameters_hash(arena);
  std::set<uint64_t> seen{before};
  for (size_t i = 0; i < arena.size(); i += 61)
    for (int bit = 0; bit < 32; ++bit) {
      const float original = arena[i];
      arena[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(original) ^ (1u << bit));
      EXPECT_TRUE(seen.insert(parameters_hash(arena)).second) << "element " << i << ", bit " << bit;
      arena[i] = original;
    }
  EXPECT_EQ(parameters_hash(arena), before);
}

TEST(ParametersHash, ZeroHasASignAndElementsHaveAPlace) {
  std::vector<float> arena(8192, 0.0f);
  const uint64_t zeros = parameters_hash(arena);
  arena[5000] = -0.0f;
  EXPECT_NE(parameters_hash(arena), zeros);
  arena = sample_arena(8192);
  const uint64_t before = parameters_hash(arena);
  std::swap(arena[10], arena[4106]);  // the same place in another block
  EXPECT_NE(parameters_hash(arena), before);
}

TEST(ParametersHash, LengthCounts) {
  const std::vector<float> arena(8192, 0.0f);
  const std::span<const float> all = arena;
  EXPECT_NE(parameters_hash(all), parameters_hash(all.first(8176)));
  EXPECT_NE(parameters_hash(all.first(4096)), parameters_hash(all));
}

TEST(StateSum, SeesEveryBitAndAddsUp) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{2}, size_t{7}, size_t{64}}) {
    std::vector<float> state(count);
    for (size_t i = 0; i < count; ++i) state[i] = 0.1f * static_cast<float>(i + 1);
    const uint64_t sum = state_sum(state);
    for (size_t i = 0; i < count; ++i)
      for (int bit = 0; bit < 32; ++bit) {
        const float before = state[i];
        state[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(before) ^ (1u << bit));
        EXPECT_NE(state_sum(state), sum) << i << " " << bit;
        state[i] = before;
      }
    EXPECT_EQ(state_sum(state), sum);
  }
}

}  // namespace
}  // namespace lepton::ops
