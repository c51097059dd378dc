// SPDX-License-Identifier: Apache-2.0
// Where blocks of parity lie: no node has two of a stripe; and what they are: any nodes that may be lost are
// given back by the others.
#include "checkpoint/redundancy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/philox.h"

namespace lepton::checkpoint {
namespace {

TEST(NodeGroup, DividesAllNodesEvenlyIntoGroupsOfAtMost32) {
  for (int nodes = 1; nodes <= 300; ++nodes) {
    int smallest = nodes, largest = 0, next = 0;
    for (int node = 0; node < nodes; ++node) {
      const NodeGroup group = NodeGroup::of(node, nodes);
      ASSERT_LE(group.first, node);
      ASSERT_LT(node, group.first + group.count);
      smallest = std::min(smallest, group.count);
      largest = std::max(largest, group.count);
      if (node < next) continue;
      ASSERT_EQ(group.first, next) << "groups follow each other";
      next += group.count;
    }
    EXPECT_EQ(next, nodes);
    EXPECT_LE(largest, std::min(nodes, 32));
    EXPECT_LE(largest - smallest, 1) << nodes;
  }
}

TEST(Rotation, ANodeHasOneBlockOfEachStripe) {
  for (int nodes = 1; nodes <= 9; ++nodes)
    for (int parity = 0; parity < nodes; ++parity) {
      const Rotation rotation{nodes, parity};
      for (int stripe = 0; stripe < nodes; ++stripe) {
        std::set<int> seen;
        for (int i = 0; i < rotation.segments(); ++i) {
          seen.insert(rotation.data_node(stripe, i));
          EXPECT_EQ(rotation.stripe_of_segment(rotation.data_node(stripe, i), i), stripe);
        }
        for (int i = 0; i < parity; ++i) {
          seen.insert(rotation.parity_node(stripe, i));
          EXPECT_EQ(rotation.stripe_of_parity(rotation.parity_node(stripe, i), i), stripe);
        }
        EXPECT_EQ(std::ssize(seen), nodes);
      }
    }
}

std::span<const std::byte> block(const std::string& blocks, int number, size_t bytes) {
  return std::as_bytes(std::span(blocks)).subspan(static_cast<size_t>(number) * bytes, bytes);
}

/// All nodes are one group here.
void expect_any_loss_restored(const Rotation& rotation, size_t segment, const std::vector<std::string>& parts,
                              const std::vector<std::string>& parity) {
  const storage::Erasure code(rotation.segments(), rotation.parity);
  std::vector<char> lost(static_cast<size_t>(rotation.nodes), 0);
  std::fill_n(lost.begin(), rotation.parity, 1);
  std::sort(lost.begin(), lost.end());
  do {
    for (int node = 0; node < rotation.nodes; ++node) {
      if (!lost[static_cast<size_t>(node)]) continue;
      for (int s = 0; s < rotation.segments(); ++s) {
        const int stripe = rotation.stripe_of_segment(node, s);
        std::vector<int> left;
        std::vector<std::span<const std::byte>> blocks;
        for (int i = 0; i < rotation.nodes; ++i) {
          const bool data = i < rotation.segments();
          const int at = data ? i : i - rotation.segments();
          const auto of =
              static_cast<size_t>(data ? rotation.data_node(stripe, at) : rotation.parity_node(stripe, at));
          if (lost[of] || std::ssize(left) == rotation.segments()) continue;
          left.push_back(i);
          blocks.push_back(block((data ? parts : parity)[of], at, segment));
        }
        const std::vector<uint8_t> by = code.restoring(s, left);
        std::vector<std::byte> restored(segment);
        for (size_t b = 0; b < blocks.size(); ++b) storage::multiply_add(by[b], blocks[b], restored);
        EXPECT_TRUE(std::ranges::equal(restored, block(parts[static_cast<size_t>(node)], s, segment)))
            << "node " << node << ", segment " << s;
      }
    }
  } while (std::next_permutation(lost.begin(), lost.end()));
}

TEST(Redundancy, TheOthersGiveBackWhatAnyLostNodesHad) {
  const comm::World world(60, 1);
  for (int parity = 0; parity < std::min(3, world.nodes()); ++parity)
    for (const size_t largest :
         {size_t{100}, size_t{world.nodes() < 4 ? 2000000u : 20000u}}) {  // several chunks
      const Rotation rotation{world.nodes(), parity};
      const size_t segment = segment_bytes(rotation, largest);
      Redundancy redundancy(world, {0, world.nodes()}, parity, segment);
      for (const uint64_t seed : {1, 2}) {  // one after another in the same memory
        std::string part(segment * static_cast<size_t>(rotation.segments()), '\0'),
            held(segment * static_cast<size_t>(parity), '\0');
        for (size_t i = 0; i < std::min(part.size(), largest); ++i)
          part[i] = static_cast<char>(mix64(seed + i * 64 + static_cast<uint64_t>(world.node())));
        std::vector<uint64_t> hashes(static_cast<size_t>(world.nodes()) + 1);
        redundancy.begin(std::as_bytes(std::span(part)), std::as_writable_bytes(std::span(held)), hashes);
        EXPECT_FALSE(redundancy.idle());
        while (!redundancy.idle()) redundancy.progress();
        const std::vector<std::string> parts = world.all_gather(part), all_held = world.all_gather(held);
        for (int node = 0; node < world.nodes(); ++node)
          EXPECT_EQ(hashes[static_cast<size_t>(node)],
                    blocks_hash(std::as_bytes(std::span(parts[static_cast<size_t>(node)])), segment));
        EXPECT_EQ(hashes.back(), blocks_hash(std::as_bytes(std::span(held)), segment));
        expect_any_loss_restored(rotation, segment, parts, all_held);
      }
    }
}

}  // namespace
}  // namespace lepton::checkpoint
