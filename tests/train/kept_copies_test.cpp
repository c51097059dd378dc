// SPDX-License-Identifier: Apache-2.0
// Which copies are enough. That they give the state back is tested with RedundantState, which makes them.
#include "train/kept_copies.h"

#include <gtest/gtest.h>

namespace lepton::train {
namespace {

KeptPart part(int node, int nodes, int parity) {
  KeptPart part;
  part.rank = node;
  part.label.node = node;
  part.label.nodes = nodes;
  part.label.parity = parity;
  part.label.segment_bytes = 64;
  part.part = part.parity = true;
  part.label.elements = 1000;
  return part;
}

std::vector<KeptPart> all_kept(int nodes, int parity) {
  std::vector<KeptPart> parts;
  for (int node = 0; node < nodes; ++node) parts.push_back(part(node, nodes, parity));
  return parts;
}

TEST(KeptCopies, AsManyNodesAsThereIsParityMayBeMissing) {
  for (const auto& [nodes, parity] : {std::pair{1, 0}, {2, 1}, {5, 1}, {5, 2}, {32, 2}}) {
    std::vector<KeptPart> parts = all_kept(nodes, parity);
    for (int lost = 0; lost <= parity; ++lost, parts.erase(parts.begin() + std::ssize(parts) / 2)) {
      const std::vector<KeptPart> copies = copies_of(parts);
      ASSERT_EQ(std::ssize(copies), nodes) << lost;
      EXPECT_EQ(std::count_if(copies.begin(), copies.end(), [](const KeptPart& c) { return c.rank < 0; }),
                lost);
    }
    if (!parts.empty()) {
      EXPECT_TRUE(copies_of(parts).empty()) << nodes << ", " << parity;
    }
  }
}

TEST(KeptCopies, ADamagedPartIsAMissingOneAndSoIsDamagedParity) {
  std::vector<KeptPart> parts = all_kept(4, 1);
  parts[1].part = false;
  EXPECT_FALSE(copies_of(parts).empty());
  parts[2].parity = false;
  EXPECT_TRUE(copies_of(parts).empty()) << "of one stripe a part and the parity";
  parts[1].part = true;
  parts[3].parity = parts[0].parity = parts[1].parity = false;
  EXPECT_FALSE(copies_of(parts).empty()) << "all data are there";
}

TEST(KeptCopies, EachGroupOfNodesMayLoseItsOwn) {
  std::vector<KeptPart> parts = all_kept(64, 1);  // two groups of 32
  parts.erase(parts.begin() + 40);
  parts.erase(parts.begin() + 3);
  EXPECT_EQ(copies_of(parts).size(), 64u);
  parts.erase(parts.begin() + 4);
  EXPECT_TRUE(copies_of(parts).empty());
}

TEST(KeptCopies, PartsOfOtherShapesAreNoCopy) {
  std::vector<KeptPart> parts = all_kept(3, 1);
  parts[1].label.elements = 7;
  EXPECT_TRUE(copies_of(parts).empty());
  parts = all_kept(3, 1);
  parts[2].label.segment_bytes = 128;
  EXPECT_TRUE(copies_of(parts).empty());
}

}  // namespace
}  // namespace lepton::train
