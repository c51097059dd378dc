// SPDX-License-Identifier: Apache-2.0
// parameters_hash by blocks. Called by train (block by block, where parameters are updated) and by inspect.
#include "ops/parameters_hash.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "base/hash.h"
#include "base/simd.h"
#include "tensor/arena.h"

namespace lepton::ops {

uint64_t parameters_block_hash(std::span<const float> arena, int64_t block) {
  const int64_t begin = block * block_elements, end = std::min<int64_t>(begin + block_elements, arena.size());
  return hash64_of<float>(arena.subspan(begin, end - begin));
}

uint64_t combine_block_hashes(std::span<const uint64_t> hashes) {
  return hash64_of<uint64_t>(hashes);
}

LEPTON_SIMD static uint64_t sum_words(const float* state, int64_t words) {
  uint64_t sum = 0;
  for (int64_t w = 0; w < words; ++w) {
    uint64_t word;
    std::memcpy(&word, state + 2 * w, sizeof word);
    sum += word;
  }
  return sum;
}

uint64_t state_sum(std::span<const float> state) {
  const auto count = static_cast<int64_t>(state.size());
  const uint64_t sum = sum_words(state.data(), count / 2);
  return count % 2 == 0 ? sum : sum + std::bit_cast<uint32_t>(state.back());
}

uint64_t parameters_hash(std::span<const float> arena) {
  std::vector<uint64_t> hashes((arena.size() + block_elements - 1) / block_elements);
  for (size_t b = 0; b < hashes.size(); ++b)
    hashes[b] = parameters_block_hash(arena, static_cast<int64_t>(b));
  return combine_block_hashes(hashes);
}

}  // namespace lepton::ops
