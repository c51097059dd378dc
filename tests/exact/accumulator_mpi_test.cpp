// SPDX-License-Identifier: Apache-2.0
// The exact sum through the whole machinery: units spread at random over ranks, added into node-shared
// memory, lanes merged, reduced between nodes. The sum, its checksums and lanes are the same at any number of
// ranks and nodes, and a bit flipped on any node before the reduction is caught by the slice's owner.
#include "exact/accumulator.h"

#include <gtest/gtest.h>

#include "base/hash.h"
#include "comm/reduction.h"
#include "comm/shared_memory.h"
#include "exact/gradients.h"
#include "exact/node_lanes.h"
#include "exact/slices.h"

namespace lepton::exact {
namespace {

constexpr int units = 40;

struct Outcome {
  uint64_t hash = 0;    // of all reduced elements, by block, on every rank
  int64_t broken = 0;   // blocks whose checksum disagrees, over all nodes
  int64_t counted = 0;  // units
  bool ids_right = false;
};

/// One round of `trial`; where `flip_on_node` is a node, one bit of its sums is flipped before the reduction.
Outcome round_of(const comm::World& world, const ArenaLayout& layout, int trial, int flip_on_node) {
  const RoundId id{trial, RoundKind::train, 3, 0};
  Lanes mine(static_cast<int>(layout.tensors().size()), world.nodes(), 1, 1);
  const comm::SharedMemory sums(world, "/dev/shm", "sums", Accumulator::bytes(layout));
  const comm::SharedMemory bank(world, "/dev/shm", "lanes", NodeLanes::bytes(mine));
  Accumulator accumulator(layout, sums.as<std::byte>());
  NodeLanes node_lanes(mine, bank.as<std::byte>());
  const Scales scales(static_cast<int>(layout.tensors().size()));
  for (int unit = 0; unit < units; ++unit) {
    if (mix64(static_cast<uint64_t>(trial * 1000 + unit)) % static_cast<uint64_t>(world.size()) !=
        static_cast<uint64_t>(world.rank()))
      continue;
    Random random(static_cast<uint64_t>(unit));
    const UnitGradients gradients = made_up_gradients(layout, random);
    for (int t = 0; t < static_cast<int>(gradients.size()); ++t)
      accumulator.add(t, 0, gradients[t], scales.current()[t], scales.overflow_bits(t, limit_bits(units)),
                      world.node_rank(), unit, t, mine);
    mine.add_unit(unit_hash(id, unit));
  }
  node_lanes.add(id.round, mine);
  world.node_barrier();
  Outcome outcome;
  if (world.leads()) {
    if (flip_on_node == world.node()) {
      int64_t& word =
          accumulator.elements()[mix64(static_cast<uint64_t>(trial)) % accumulator.elements().size()];
      word = static_cast<int64_t>(static_cast<uint64_t>(word) ^ (uint64_t{1} << (trial % 64)));
    }
    comm::LeaderReduction reduction(world);
    const Slices slices = cut_arena(layout, world.nodes());
    reduction.reduce_scatter(accumulator.elements(), slices.elements, {});
    reduction.reduce_scatter(accumulator.checksums(), slices.blocks, {});
    Lanes all = mine;
    node_lanes.take(id.round, all);
    for (int64_t b = slices.blocks[world.node()]; b < slices.blocks[world.node() + 1]; ++b)
      if (!accumulator.intact(b)) ++all.checksum_failures();
    reduction.all_reduce(all.values(), all.sum_count(), {});
    reduction.all_gather(std::as_writable_bytes(accumulator.elements()), slices.elements, sizeof(int64_t),
                         {});
    outcome.broken = all.checksum_failures();
    outcome.counted = all.units();
    outcome.ids_right = all.unit_hash_sum() == expected_unit_hash(id, units);
    outcome.hash = hash64_of(std::span<const int64_t>(accumulator.elements()),
                             static_cast<uint64_t>(all.magnitude_bits(0)));
  }
  world.node_barrier();
  return outcome;
}

TEST(ExactSum, IsTheSameForAnyRanksAndNodes) {
  const ArenaLayout layout = layout_of({9000, 17, 5000});
  Random random(0);
  Node alone(layout);
  const Scales scales(3);
  for (int unit = 0; unit < units; ++unit) {
    Random own(static_cast<uint64_t>(unit));
    alone.add(made_up_gradients(layout, own), scales, limit_bits(units), unit);
  }
  const uint64_t expected = hash64_of(std::span<const int64_t>(alone.accumulator.elements()),
                                      static_cast<uint64_t>(alone.lanes.magnitude_bits(0)));
  for (const int ranks_per_node : {1, 2, 3, 1000}) {
    const comm::World world(60, ranks_per_node);
    for (int trial = 0; trial < 10; ++trial) {
      const Outcome outcome = round_of(world, layout, trial, -1);
      if (!world.leads()) continue;
      ASSERT_EQ(outcome.hash, expected);
      ASSERT_EQ(outcome.broken, 0);
      ASSERT_EQ(outcome.counted, units);
      ASSERT_TRUE(outcome.ids_right);
    }
  }
}

TEST(ExactSum, AFlippedBitOnAnyNodeIsKnownToAll) {
  const ArenaLayout layout = layout_of({9000, 17, 5000});
  for (const int ranks_per_node : {1, 2, 3}) {
    const comm::World world(60, ranks_per_node);
    for (int trial = 0; trial < 20; ++trial) {
      const Outcome outcome = round_of(world, layout, trial, trial % world.nodes());
      if (world.leads()) {
        ASSERT_EQ(outcome.broken, 1);
      }
    }
  }
}

}  // namespace
}  // namespace lepton::exact
