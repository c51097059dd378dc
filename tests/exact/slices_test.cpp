// SPDX-License-Identifier: Apache-2.0
// Slices: contiguous, complete, in equal parts, also with more nodes than blocks.
#include "exact/slices.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "exact/gradients.h"

namespace lepton::exact {
namespace {

TEST(Slices, AreContiguousCompleteAndInEqualParts) {
  for (const int64_t count : {1L, 4096L, 4097L, 100'000L}) {
    const ArenaLayout layout = layout_of({count, 30});
    for (int nodes = 1; nodes <= 40; ++nodes) {
      const Slices slices = cut_arena(layout, nodes);
      ASSERT_EQ(slices.blocks.size(), static_cast<size_t>(nodes) + 1);
      ASSERT_EQ(slices.elements.size(), static_cast<size_t>(nodes) + 1);
      EXPECT_EQ(slices.blocks.front(), 0);
      EXPECT_EQ(slices.blocks.back(), layout.blocks());
      EXPECT_EQ(slices.elements.back(), layout.elements());
      for (int n = 0; n < nodes; ++n) {
        const int64_t size = slices.blocks[n + 1] - slices.blocks[n];
        const int64_t part = (layout.blocks() + nodes - 1) / nodes;  // no cut's largest part is smaller
        EXPECT_EQ(size, std::clamp(layout.blocks() - n * part, int64_t{0}, part));
        EXPECT_EQ(slices.elements[n], std::min(slices.blocks[n] * block_elements, layout.elements()));
      }
    }
  }
}

}  // namespace
}  // namespace lepton::exact
