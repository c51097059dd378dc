// SPDX-License-Identifier: Apache-2.0
// Slices: which blocks of the arena each node sums up and updates. Contiguous, whole blocks, sizes that
// differ by at most one block. A slice never changes bits: norms, checksums and hashes are taken per block.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/arena.h"

namespace lepton::exact {

struct Slices {
  std::vector<int64_t> blocks;    ///< node n has blocks [blocks[n], blocks[n + 1]); nodes + 1 entries
  std::vector<int64_t> elements;  ///< the same in arena elements; the last ends with the arena
};

/// Also for cutting a node's slice over its ranks or threads (see `cut_range`).
Slices cut_arena(const ArenaLayout& layout, int nodes);

/// parts + 1 offsets that cut [begin, end) into parts whose sizes differ by at most one, the longer ones
/// first.
std::vector<int64_t> cut_range(int64_t begin, int64_t end, int parts);

}  // namespace lepton::exact
