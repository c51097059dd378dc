// SPDX-License-Identifier: Apache-2.0
// The node's shared state: the same memory on all ranks of a node and no other, pieces that do not overlap,
// moments of the slice only, and the bytes per parameter that the design allows.
#include "train/node_state.h"

#include <gtest/gtest.h>

#include <set>

#include "exact/slices.h"

namespace lepton::train {
namespace {

ArenaLayout node_layout() {
  ArenaLayout layout;
  layout.add("a", {3000}, TensorRole::parameter, true);
  layout.add("b", {21000}, TensorRole::parameter, true);
  layout.add("mean", {50}, TensorRole::statistic, false);
  layout.finish();
  return layout;
}

/// Runs `test` with a state on each cut of the ranks into nodes.
template <class Test>
void with_states(int moments, Test&& test) {
  const ArenaLayout layout = node_layout();
  const exact::Lanes lanes(3, 1, 2, 5);
  for (const int ranks_per_node : {1000, 1, 2, 3}) {
    const comm::World world(60, ranks_per_node);
    const exact::Slices slices = exact::cut_arena(layout, world.nodes());
    NodeState node(world, layout, {.max_samples = 40, .max_units = 7, .state = {.moments = moments}}, lanes,
                   slices.elements, "/dev/shm");
    test(world, layout, slices, node);
    world.barrier();
  }
}

TEST(NodeState, BeginsZeroedWithEmptyQueueAndLanes) {
  with_states(2,
              [](const comm::World& world, const ArenaLayout& layout, const exact::Slices&, NodeState& node) {
                for (int slot = 0; slot < 2; ++slot) {
                  EXPECT_EQ(node.parameters(slot).size(), static_cast<size_t>(layout.elements()));
                  for (const float x : node.parameters(slot)) ASSERT_EQ(x, 0);
                  EXPECT_EQ(node.block_hashes(slot).size(), static_cast<size_t>(layout.blocks()));
                }
                EXPECT_TRUE(node.queue().take().empty());
                EXPECT_EQ(node.control().header.slot, 0);
                EXPECT_FALSE(node.control().header.run);
                EXPECT_EQ(node.scales().size(), 3u);
                EXPECT_EQ(node.overflow_bits().size(), 3u);
                world.node_barrier();
                if (!world.leads()) return;
                exact::Lanes taken(3, 1, 2, 5);
                node.lanes().take(0, taken);
                EXPECT_EQ(taken.units(), 0);
              });
}

TEST(NodeState, RanksOfANodeSeeOneMemoryAndOthersDoNot) {
  with_states(2, [](const comm::World& world, const ArenaLayout&, const exact::Slices&, NodeState& node) {
    if (world.leads()) {
      node.parameters(1)[77] = static_cast<float>(world.node() + 1);
      node.control().header.samples = world.node() + 10;
      node.samples(3)[39] = world.node() + 20;
      node.unit_begins(2)[7] = world.node() + 30;
      node.accumulator().elements()[5000] = world.node() + 40;
    }
    world.barrier();
    EXPECT_EQ(node.parameters(1)[77], static_cast<float>(world.node() + 1));
    EXPECT_EQ(node.control().header.samples, world.node() + 10);
    EXPECT_EQ(node.samples(3)[39], world.node() + 20);
    EXPECT_EQ(node.unit_begins(2)[7], world.node() + 30);
    EXPECT_EQ(node.accumulator().elements()[5000], world.node() + 40);
    world.barrier();
  });
}

TEST(NodeState, MomentsAreThoseOfTheSlice) {
  for (const int moments : {0, 1, 2})
    with_states(moments, [moments](const comm::World& world, const ArenaLayout&, const exact::Slices& slices,
                                   NodeState& node) {
      EXPECT_EQ(node.slice_begin(), slices.elements[world.node()]);
      EXPECT_EQ(node.slice_end(), slices.elements[world.node() + 1]);
      const auto slice = static_cast<size_t>(node.slice_end() - node.slice_begin());
      for (int slot = 0; slot < 2; ++slot)
        for (int m = 0; m < 2; ++m) EXPECT_EQ(node.moment(slot, m).size(), m < moments ? slice : 0);
    });
}

TEST(NodeState, PiecesDoNotOverlap) {
  with_states(2,
              [](const comm::World& world, const ArenaLayout& layout, const exact::Slices&, NodeState& node) {
                world.node_barrier();
                if (!world.leads()) return;
                float next = 1;
                std::vector<std::span<float>> pieces = {node.parameters(0), node.parameters(1)};
                for (int slot = 0; slot < 2; ++slot)
                  for (int m = 0; m < 2; ++m) pieces.push_back(node.moment(slot, m));
                for (const std::span<float> piece : pieces) std::fill(piece.begin(), piece.end(), next++);
                next = 1;
                for (const std::span<float> piece : pieces) {
                  for (const float x : piece) ASSERT_EQ(x, next);
                  ++next;
                }
                std::vector<std::span<int64_t>> numbers;
                for (int64_t ticket = 0; ticket < 4; ++ticket) {
                  EXPECT_EQ(node.samples(ticket).size(), 40u);
                  EXPECT_EQ(node.unit_begins(ticket).size(), 8u);
                  numbers.push_back(node.samples(ticket));
                  numbers.push_back(node.unit_begins(ticket));
                }
                int64_t value = 1;
                for (const std::span<int64_t> span : numbers) std::fill(span.begin(), span.end(), value++);
                std::fill(node.scales().begin(), node.scales().end(), -1);
                std::fill(node.overflow_bits().begin(), node.overflow_bits().end(), ~0u);
                std::fill(node.block_hashes(0).begin(), node.block_hashes(0).end(), ~uint64_t{0});
                value = 1;
                for (const std::span<int64_t> span : numbers) {
                  for (const int64_t x : span) ASSERT_EQ(x, value);
                  ++value;
                }
                for (int64_t b = 0; b < layout.blocks(); ++b) EXPECT_EQ(node.block_hashes(1)[b], 0u);
                EXPECT_EQ(node.samples(0).data(), node.samples(4).data());  // tickets go round
              });
}

/// A state of a node whose ranks are all there are.
struct OneCopy {
  OneCopy(int parameter_slots, int moment_slots)
      : slices(exact::cut_arena(layout, world.nodes())),
        node(world, layout, {.max_samples = 40, .max_units = 7, .state = {2, parameter_slots, moment_slots}},
             exact::Lanes(3, 1, 2, 5), slices.elements, "/dev/shm") {}
  ~OneCopy() { world.barrier(); }
  const comm::World world{60, 1};
  const ArenaLayout layout = node_layout();
  const exact::Slices slices;
  NodeState node;
};

TEST(NodeState, BothSlotsAreOneCopyWhereADeviceHasThem) {
  OneCopy both(2, 2), moments(2, 1), all(1, 1);
  const auto same = [](NodeState& node) { return node.parameters(0).data() == node.parameters(1).data(); };
  EXPECT_FALSE(same(both.node));
  EXPECT_FALSE(same(moments.node));
  EXPECT_TRUE(same(all.node));
  const auto slice = static_cast<size_t>(all.node.slice_end() - all.node.slice_begin());
  for (OneCopy* one : {&both, &moments, &all}) {
    for (int slot = 0; slot < 2; ++slot) {
      EXPECT_EQ(one->node.parameters(slot).size(), static_cast<size_t>(one->layout.elements()));
      for (int m = 0; m < 2; ++m) EXPECT_EQ(one->node.moment(slot, m).size(), slice);
    }
    EXPECT_EQ(one->node.moments(), 2);
    EXPECT_EQ(one->node.units_max(), 7);
    EXPECT_NE(one->node.block_hashes(0).data(), one->node.block_hashes(1).data()) << "two slots in any case";
  }
  if (slice == 0) return;
  EXPECT_NE(both.node.moment(0, 1).data(), both.node.moment(1, 1).data());
  for (int m = 0; m < 2; ++m) EXPECT_EQ(moments.node.moment(0, m).data(), moments.node.moment(1, m).data());
  EXPECT_NE(moments.node.moment(0, 0).data(), moments.node.moment(0, 1).data()) << "still two moments";
}

TEST(NodeState, OneCopyTakesTheMemoryOfOne) {
  const OneCopy both(2, 2), moments(2, 1), all(1, 1);
  const auto elements = static_cast<double>(all.layout.elements()) * 4;
  const double slice = static_cast<double>(all.node.slice_end() - all.node.slice_begin()) * 4;
  const auto bytes = [](const OneCopy& one) { return static_cast<double>(one.node.bytes()); };
  EXPECT_NEAR(bytes(both) - bytes(moments), 2 * slice, 8192) << "two moments";
  EXPECT_NEAR(bytes(moments) - bytes(all), elements, 8192) << "and one array of parameters";
}

TEST(NodeState, TakesThe32BytesPerParameterThatAdamMay) {
  ArenaLayout layout;
  layout.add("w", {1000, 5000}, TensorRole::parameter, true);
  layout.finish();
  const auto parameters = static_cast<double>(layout.parameter_count());
  const auto per_parameter = [&](int64_t slice, int moments) {
    return static_cast<double>(node_state_bytes(layout, slice, {.moments = moments})) / parameters;
  };
  EXPECT_NEAR(per_parameter(layout.elements(), 2), 32, 0.1);      // 2 slots of w, m, v, and the int64 sum
  EXPECT_NEAR(per_parameter(layout.elements() / 4, 2), 20, 0.1);  // moments divided by four nodes
  EXPECT_NEAR(per_parameter(layout.elements(), 0), 16, 0.1);
}

TEST(NodeState, TheControlBlockFitsAndIsAligned) {
  with_states(1, [](const comm::World&, const ArenaLayout&, const exact::Slices&, NodeState& node) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(&node.control()) % 64, 0u);
    for (int slot = 0; slot < 2; ++slot) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(node.parameters(slot).data()) % 64, 0u);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(node.moment(slot, 0).data()) % 64, 0u);
    }
    EXPECT_GT(node.bytes(), sizeof(NodeControl));
  });
}

}  // namespace
}  // namespace lepton::train
