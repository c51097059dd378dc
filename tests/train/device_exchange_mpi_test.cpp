// SPDX-License-Identifier: Apache-2.0
// What devices exchange by themselves stays on them; the host gets to know of hashes. (What is exchanged, and
// flips on the way: node_exchange_mpi_test.cpp.)
#include "train/device_exchange.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "comm/mpi_device_group.h"
#include "ops/debug_engine.h"
#include "ops/parameters_hash.h"

namespace lepton::train {
namespace {

/// Nodes of one rank with a debug device each, whose parameters are all a number of the node's.
struct ExchangeBench {
  ExchangeBench()
      : slices(exact::cut_arena(layout, world.nodes())),
        node(world, layout, NodeSizes{.max_samples = 8, .max_units = 8}, exact::Lanes(1, world.nodes(), 1, 1),
             slices.elements, "/dev/shm"),
        engine(ops::open_debug_engine(size_t{16} << 20, static_cast<uint64_t>(world.node()))),
        group(world, engine.device(), *engine.queue,
              [this](int64_t* sums, const int64_t* more, int64_t count) {
                engine.step_math->add_sums(sums, more, count);
              }),
        state(engine, layout, node, slices, 8, &group),
        exchange(state, slices, node) {
    std::fill(node.parameters(0).begin(), node.parameters(0).end(), static_cast<float>(world.node() + 1));
    state.upload_parameters(0);
    engine.step_math->hash_blocks(state.parameters(0), layout.elements(), state.first_block(),
                                  state.end_block(), state.hashes());
    std::fill(node.parameters(0).begin(), node.parameters(0).end(), -1.f);
  }
  static ArenaLayout sample_layout() {
    ArenaLayout layout;
    layout.add("a", {50000}, TensorRole::parameter, true);
    layout.finish();
    return layout;
  }

  const comm::World world{60, 1};
  const ArenaLayout layout = sample_layout();
  const exact::Slices slices;
  NodeState node;
  ops::Engine engine;
  comm::MpiDeviceGroup group;
  DeviceState state;
  DeviceExchange exchange;
};

TEST(DeviceExchange, TheHostsCopyIsLeftAlone) {
  ExchangeBench bench;
  bench.exchange.gather_parameters(0, {});
  EXPECT_TRUE(std::ranges::all_of(bench.node.parameters(0), [](float value) { return value == -1.f; }));
  bench.state.refresh_host(0);
  const std::span<const float> all = bench.node.parameters(0);
  for (int owner = 0; owner < bench.world.nodes(); ++owner)
    for (int64_t i = bench.slices.elements[owner]; i < bench.slices.elements[owner + 1]; ++i)
      ASSERT_EQ(all[static_cast<size_t>(i)], static_cast<float>(owner + 1));
  for (int64_t b = 0; b < bench.layout.blocks(); ++b)
    EXPECT_EQ(bench.node.block_hashes(0)[b], ops::parameters_block_hash(all, b));
  bench.world.barrier();
}

/// A group that is not done before somebody waits for it and lets messages move.
class SlowGroup : public DeviceGroup {
 public:
  void reduce_scatter(int64_t*, std::span<const int64_t>, const Poll&) override { under_way = true; }
  void all_gather(void*, std::span<const int64_t>, size_t, const Poll&) override { under_way = true; }
  void finish(const Poll& poll) override {
    if (!under_way || !poll) return;
    poll();
    under_way = false;
  }
  bool under_way = false;
};

// Where others wait for rows of ours while we wait for their sums, nothing would ever move.
TEST(DeviceExchange, MessagesMoveWhileSumsAreWaitedFor) {
  ExchangeBench bench;
  SlowGroup group;
  DeviceState state(bench.engine, bench.layout, bench.node, bench.slices, 8, &group);
  DeviceExchange exchange(state, bench.slices, bench.node);
  int polls = 0;
  exchange.reduce_sums([&polls] { ++polls; });
  EXPECT_FALSE(group.under_way);
  EXPECT_EQ(polls, 1);
  bench.world.barrier();
}

TEST(DeviceExchange, AHashThatItsOwnerStatesWronglyIsNoticedByAll) {
  ExchangeBench bench;
  if (bench.world.node() == 0) {
    const uint64_t wrong = 1;
    bench.state.upload(std::as_bytes(std::span(&wrong, 1)), bench.state.hashes());
  }
  try {
    bench.exchange.gather_parameters(0, {});
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_NE(std::string(error.what()).find("node 0"), std::string::npos) << error.what();
  }
  bench.world.barrier();
}

}  // namespace
}  // namespace lepton::train
