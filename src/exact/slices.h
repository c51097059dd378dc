// SPDX-License-Identifier: Apache-2.0
// Slices: which blocks of the arena each node sums up and updates. Contiguous, whole blocks, equal numbers
// but that the last nodes may have fewer or none: equal parts are what NCCL exchanges, and no node has more
// than with any other cut. A slice never changes bits: norms, checksums and hashes are taken per block.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/arena.h"

namespace lepton::exact {

struct Slices {
  std::vector<int64_t> blocks;    ///< node n has blocks [blocks[n], blocks[n + 1]); nodes + 1 entries
  std::vector<int64_t> elements;  ///< the same in arena elements; the last ends with the arena
};

Slices cut_arena(const ArenaLayout& layout, int nodes);
/// The same of an arena with so many elements.
Slices cut_arena(int64_t elements, int nodes);

}  // namespace lepton::exact
