// SPDX-License-Identifier: Apache-2.0
// parameters_hash by blocks. Called by train (block by block, where parameters are updated) and by inspect.
#include "ops/parameters_hash.h"

#include <algorithm>
#include <vector>

#include "base/hash.h"
#include "tensor/arena.h"

namespace lepton::ops {

uint64_t parameters_block_hash(std::span<const float> arena, int64_t block) {
  const int64_t begin = block * block_elements, end = std::min<int64_t>(begin + block_elements, arena.size());
  return hash64_of<float>(arena.subspan(begin, end - begin));
}

uint64_t combine_block_hashes(std::span<const uint64_t> hashes) {
  return hash64_of<uint64_t>(hashes);
}

uint64_t parameters_hash(std::span<const float> arena) {
  std::vector<uint64_t> hashes((arena.size() + block_elements - 1) / block_elements);
  for (size_t b = 0; b < hashes.size(); ++b)
    hashes[b] = parameters_block_hash(arena, static_cast<int64_t>(b));
  return combine_block_hashes(hashes);
}

}  // namespace lepton::ops
