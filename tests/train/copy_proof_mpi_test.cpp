// SPDX-License-Identifier: Apache-2.0
// What a copy of the state must be: any flipped bit in it is found and named, on any cut into nodes; and what
// has no sums is not asked for.
#include "train/copy_proof.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "errors.h"
#include "exact/slices.h"
#include "train/phases.h"

namespace lepton::train {
namespace {

/// A node with a state that is not zero, and a copy of its slice.
class CopiedState {
 public:
  CopiedState(int ranks_per_node, StateShape shape) : world(60, ranks_per_node) {
    layout.add("a", {9000}, TensorRole::parameter, true);
    layout.finish();
    const exact::Slices slices = exact::cut_arena(layout, world.nodes());
    node.emplace(world, layout, NodeSizes{.max_samples = 8, .max_units = 8, .state = shape},
                 exact::Lanes(1, world.nodes(), 0, 0), slices.elements, "/dev/shm");
    if (world.leads()) {
      std::iota(node->parameters(0).begin(), node->parameters(0).end(), 1.0f);
      for (int m = 0; m < shape.moments; ++m)
        std::iota(node->moment(0, m).begin(), node->moment(0, m).end(), 5.0f * static_cast<float>(m));
      hash_state(*node, layout, 0);
    }
    world.node_barrier();
    const int64_t begin = node->slice_begin(), count = node->slice_end() - begin;
    for (int array = 0; array < 1 + shape.moments; ++array) {
      const std::span<float> from =
          array == 0 ? node->parameters(0).subspan(begin, count) : node->moment(0, array - 1);
      values[array].assign(from.begin(), from.end());
      copy[array] = values[array];
    }
  }
  ~CopiedState() { world.barrier(); }

  const comm::World world;
  ArenaLayout layout;
  std::optional<NodeState> node;
  std::array<std::vector<float>, 3> values;
  StateCopy copy;
};

void flip(float& value, int bit) {
  value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ 1u << bit);
}

TEST(CopyProof, AWholeCopyPassesAndAFlippedBitDoesNot) {
  for (const int ranks_per_node : {1000, 1, 2})
    for (const int moments : {0, 1, 2}) {
      CopiedState state(ranks_per_node, {.moments = moments});
      const CopyProof proof(*state.node);
      EXPECT_NO_THROW(proof.require(state.copy));
      for (int array = 0; array < 1 + moments; ++array)
        for (const size_t at : {size_t{0}, state.values[array].size() - 1}) {
          if (state.values[array].empty()) continue;  // more nodes than blocks
          flip(state.values[array][at], static_cast<int>(at % 32));
          expect_error_of([&] { proof.require(state.copy); }, Exit::io,
                          {array == 0 ? "parameters" : "optimizer's state", "flipped"});
          flip(state.values[array][at], static_cast<int>(at % 32));
        }
    }
}

TEST(CopyProof, MomentsOnADeviceHaveNoSums) {
  CopiedState state(1000, {.moments = 2, .parameter_slots = 1, .moment_slots = 1});
  const CopyProof proof(*state.node);
  flip(state.values[2][7], 3);
  EXPECT_NO_THROW(proof.require(state.copy));
  flip(state.values[0][7], 3);
  EXPECT_ANY_THROW(proof.require(state.copy));
}

}  // namespace
}  // namespace lepton::train
