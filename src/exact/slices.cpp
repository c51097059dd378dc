// SPDX-License-Identifier: Apache-2.0
// Balanced contiguous cuts. Called at start by train, for nodes and for the threads of a node.
#include "exact/slices.h"

#include <algorithm>

#include "base/error.h"

namespace lepton::exact {

std::vector<int64_t> cut_range(int64_t begin, int64_t end, int parts) {
  CHECK(parts >= 1 && begin <= end, "a range and its parts");
  std::vector<int64_t> offsets(static_cast<size_t>(parts) + 1, begin);
  const int64_t each = (end - begin) / parts, longer = (end - begin) % parts;
  for (int64_t part = 0; part < parts; ++part)
    offsets[part + 1] = offsets[part] + each + (part < longer ? 1 : 0);
  return offsets;
}

Slices cut_arena(const ArenaLayout& layout, int nodes) {
  Slices slices;
  slices.blocks = cut_range(0, layout.blocks(), nodes);
  for (const int64_t block : slices.blocks)
    slices.elements.push_back(std::min(block * block_elements, layout.elements()));
  return slices;
}

}  // namespace lepton::exact
