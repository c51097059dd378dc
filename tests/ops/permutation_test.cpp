// SPDX-License-Identifier: Apache-2.0
// Permutations: neighbours are joined, dimensions of one element vanish, the inverse undoes.
#include "ops/permutation.h"

#include <gtest/gtest.h>

#include <numeric>

namespace lepton::ops {
namespace {

OpSpec spec_of(const Shape& input, std::vector<int64_t> perm, Layout from, Layout to) {
  return {.type = "Transpose",
          .attributes = {{"perm", std::move(perm)}},
          .inputs = {input},
          .layouts = {from},
          .output_layout = to};
}

/// Of the source, for each element of the result.
std::vector<int64_t> places(const Permutation& p) {
  std::vector<int64_t> all = {0};
  for (int d = 0; d < p.dimensions; ++d) {
    std::vector<int64_t> next;
    for (const int64_t place : all)
      for (int64_t i = 0; i < p.size[d]; ++i) next.push_back(place + i * p.from[d]);
    all = next;
  }
  return all;
}

TEST(Permutation, JoinsNeighbours) {
  EXPECT_EQ(permutation_of(spec_of({4, 5, 6}, {0, 2, 3, 1}, Layout::plain, Layout::plain)).dimensions, 2);
  EXPECT_EQ(permutation_of(spec_of({4, 1, 6}, {0, 2, 1, 3}, Layout::plain, Layout::plain)).dimensions, 1);
  EXPECT_EQ(permutation_of(spec_of({4, 5, 6}, {0, 3, 1, 2}, Layout::plain, Layout::channels_last)).dimensions,
            1);
  EXPECT_EQ(permutation_of(spec_of({4, 5, 6}, {0, 3, 2, 1}, Layout::plain, Layout::plain)).dimensions, 3);
  EXPECT_TRUE(permutation_of(spec_of({1, 1}, {0, 2, 1}, Layout::plain, Layout::plain)).moves_nothing());
}

TEST(Permutation, TheInverseUndoesIt) {
  for (const Layout to : {Layout::plain, Layout::channels_last}) {
    const Permutation there =
        permutation_of(spec_of({2, 3, 4, 5}, {0, 3, 1, 4, 2}, Layout::channels_last, to));
    const std::vector<int64_t> forth = places(there), back = places(there.inverse());
    ASSERT_EQ(forth.size(), 120u);
    for (size_t i = 0; i < forth.size(); ++i)
      EXPECT_EQ(forth[static_cast<size_t>(back[i])], static_cast<int64_t>(i));
  }
}

}  // namespace
}  // namespace lepton::ops
