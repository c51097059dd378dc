// SPDX-License-Identifier: Apache-2.0
// Contiguous cuts in equal parts. Called at start by train.
#include "exact/slices.h"

#include <algorithm>

#include "base/error.h"

namespace lepton::exact {

Slices cut_arena(const ArenaLayout& layout, int nodes) {
  return cut_arena(layout.elements(), nodes);
}

Slices cut_arena(int64_t elements, int nodes) {
  Slices slices;
  CHECK(nodes >= 1, "a job has a node");
  const int64_t blocks = (elements + block_elements - 1) / block_elements,
                each = (blocks + nodes - 1) / nodes;
  for (int64_t node = 0; node <= nodes; ++node) slices.blocks.push_back(std::min(node * each, blocks));
  for (const int64_t block : slices.blocks)
    slices.elements.push_back(std::min(block * block_elements, elements));
  return slices;
}

}  // namespace lepton::exact
