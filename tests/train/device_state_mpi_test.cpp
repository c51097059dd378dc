// SPDX-License-Identifier: Apache-2.0
// A device node's memory: copies of any size through the bounce buffer, the state from the host's copy and
// back, how many bytes it takes, and the arena's layout as the device sees it.
#include "train/device_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "device_round.h"
#include "exact/slices.h"
#include "ops/debug_engine.h"

namespace lepton::train {
namespace {

constexpr int64_t units_max = 11;
constexpr size_t bounce = size_t{8} << 20, memory_bytes = size_t{256} << 20;

ArenaLayout device_layout() {
  ArenaLayout layout;
  layout.add("a", {70, 70}, TensorRole::parameter, true, 0.01);
  layout.add("b", {33}, TensorRole::parameter, false);
  layout.add("c", {90, 111}, TensorRole::parameter, true);
  layout.add("mean", {100}, TensorRole::statistic, false);
  layout.finish();
  return layout;
}

/// A state on a debug device of its own, of a node with so many moments.
struct StateBench {
  explicit StateBench(int moments, int parameter_slots = 2, int moment_slots = 2)
      : world(60, 1),
        slices(exact::cut_arena(layout, world.nodes())),
        node(
            world, layout,
            NodeSizes{
                .max_samples = 40, .max_units = units_max, .state = {moments, parameter_slots, moment_slots}},
            exact::Lanes(4, world.nodes(), 1, 1), slices.elements, "/dev/shm"),
        engine(ops::open_debug_engine(memory_bytes, static_cast<uint64_t>(world.rank()))),
        free_before(engine.backend->properties().bytes_free),
        state(engine, layout, node, slices, units_max) {}
  ~StateBench() { world.barrier(); }

  int64_t slice() { return node.slice_end() - node.slice_begin(); }

  const comm::World world;
  const ArenaLayout layout = device_layout();
  const exact::Slices slices;
  NodeState node;
  ops::Engine engine;
  const size_t free_before;
  DeviceState state;
};

std::vector<std::byte> noise(size_t count) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>((i * 2654435761U) >> 13);
  return bytes;
}

TEST(DeviceState, CopiesOfAnySizeComeBack) {
  StateBench bench(0);
  for (const size_t size : {size_t{1}, size_t{4097}, bounce - 1, bounce, bounce + 1, 2 * bounce + 12345}) {
    const std::vector<std::byte> sent = noise(size);
    const Buffer memory(bench.engine.device(), size + 2, "a test");
    const std::vector<std::byte> guards(size + 2, std::byte{0x5a});
    bench.state.upload(guards, memory.data());
    bench.state.upload(sent, memory.data() + 1);
    std::vector<std::byte> back(size + 2);
    bench.state.download(memory.data(), back);
    EXPECT_TRUE(std::equal(sent.begin(), sent.end(), back.begin() + 1)) << size << " bytes";
    EXPECT_EQ(back.front(), std::byte{0x5a}) << size << " bytes";
    EXPECT_EQ(back.back(), std::byte{0x5a}) << size << " bytes";
    std::vector<std::byte> part(size);
    bench.state.download(memory.data() + 1, part);
    EXPECT_EQ(std::memcmp(part.data(), sent.data(), size), 0) << size << " bytes from an odd address";
  }
}

TEST(DeviceState, BeginsWithZeros) {
  StateBench bench(2);
  const auto elements = static_cast<size_t>(bench.layout.elements()),
             slice = static_cast<size_t>(bench.slice());
  for (int slot = 0; slot < 2; ++slot) {
    EXPECT_EQ(fetched(bench.state, bench.state.parameters(slot), bench.layout.elements()),
              std::vector<float>(elements, 0));
    for (int m = 0; m < 2; ++m)
      EXPECT_EQ(fetched(bench.state, bench.state.moment(slot, m), bench.slice()),
                std::vector<float>(slice, 0));
  }
  const ops::DeviceSums sums = bench.state.sums();
  EXPECT_EQ(fetched(bench.state, sums.elements, bench.layout.elements()), std::vector<int64_t>(elements, 0));
  EXPECT_EQ(fetched(bench.state, sums.checksums, bench.layout.blocks()),
            std::vector<int64_t>(static_cast<size_t>(bench.layout.blocks()), 0));
}

TEST(DeviceState, TheHostsStateGoesToASlotAndParametersComeBack) {
  for (const int slot : {0, 1}) {
    StateBench bench(2);
    const auto fill = [](std::span<float> values, float from) {
      std::iota(values.begin(), values.end(), from);
    };
    fill(bench.node.parameters(slot), 5);
    for (int m = 0; m < 2; ++m) fill(bench.node.moment(slot, m), static_cast<float>(100 * m));
    const std::vector<float> parameters = copied(bench.node.parameters(slot));
    bench.state.upload_state(slot);
    for (int m = 0; m < 2; ++m)
      EXPECT_EQ(fetched(bench.state, bench.state.moment(slot, m), bench.slice()),
                copied(bench.node.moment(slot, m)));
    EXPECT_EQ(fetched(bench.state, bench.state.parameters(1 - slot), bench.layout.elements()),
              std::vector<float>(parameters.size(), 0))
        << "the other slot stays";
    std::fill(bench.node.parameters(slot).begin(), bench.node.parameters(slot).end(), -1.f);
    bench.state.refresh_host(slot);
    EXPECT_EQ(copied(bench.node.parameters(slot)), parameters);

    fill(bench.node.parameters(slot), 7);
    for (int m = 0; m < 2; ++m) fill(bench.node.moment(slot, m), -50);
    bench.state.upload_parameters(slot);
    EXPECT_EQ(fetched(bench.state, bench.state.parameters(slot), bench.layout.elements()),
              copied(bench.node.parameters(slot)));
    if (bench.slice() > 0) {
      EXPECT_EQ(fetched(bench.state, bench.state.moment(slot, 1), 1), std::vector<float>{100})
          << "moments are not parameters";
    }
  }
}

TEST(DeviceState, TheHostsOnlyCopyServesBothSlots) {
  StateBench bench(1, 1, 1);
  std::fill(bench.node.parameters(0).begin(), bench.node.parameters(0).end(), 3.f);
  bench.state.upload_state(1);
  std::fill(bench.node.parameters(0).begin(), bench.node.parameters(0).end(), 4.f);
  bench.state.upload_state(0);
  bench.state.refresh_host(1);
  EXPECT_EQ(bench.node.parameters(0).front(), 3.f);
  bench.state.refresh_host(0);
  EXPECT_EQ(bench.node.parameters(1).front(), 4.f);
}

TEST(DeviceState, BytesAreWhatTheDeviceLoses) {
  constexpr int64_t page = 4096;
  for (const int moments : {0, 1, 2}) {
    StateBench bench(moments);
    const auto lost = static_cast<int64_t>(bench.free_before - bench.engine.backend->properties().bytes_free);
    const int64_t stated = DeviceState::bytes(bench.layout, bench.slices, bench.slice(), moments, units_max);
    const int64_t arrays = 2 + 2 * moments + 10;
    EXPECT_GE(lost + page, stated) << moments << " moments: more is stated than taken";
    EXPECT_LE(lost, stated + arrays * page) << moments << " moments: more is taken than stated";
  }
  const ArenaLayout layout = device_layout();
  const exact::Slices slices = exact::cut_arena(layout, 1);
  EXPECT_EQ(DeviceState::bytes(layout, slices, 8192, 2, 1) - DeviceState::bytes(layout, slices, 8192, 1, 1),
            2 * 4 * 8192);
  EXPECT_EQ(DeviceState::bytes(layout, slices, 0, 0, 101) - DeviceState::bytes(layout, slices, 0, 0, 1),
            static_cast<int64_t>(100 * sizeof(ops::UnitReport)));
}

TEST(DeviceState, AFullDeviceIsAnErrorOfMemory) {
  StateBench bench(0);
  ops::Engine small = ops::open_debug_engine(100'000, 0);
  try {
    const DeviceState state(small, bench.layout, bench.node, bench.slices, units_max);
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::memory) << error.what();
  }
}

TEST(DeviceState, TheTableHoldsTheLayout) {
  StateBench bench(0);
  const ops::BlockTable table = bench.state.table();
  EXPECT_EQ(table.elements, bench.layout.elements());
  const auto count = static_cast<int64_t>(bench.layout.segments().size());
  const std::vector<Segment> segments = fetched(bench.state, table.segments, count);
  for (int64_t s = 0; s < count; ++s) {
    const Segment& expected = bench.layout.segments()[static_cast<size_t>(s)];
    EXPECT_EQ(segments[static_cast<size_t>(s)].tensor, expected.tensor);
    EXPECT_EQ(segments[static_cast<size_t>(s)].begin, expected.begin);
    EXPECT_EQ(segments[static_cast<size_t>(s)].end, expected.end);
  }
  const std::vector<int64_t> begins = fetched(bench.state, table.segment_begin, bench.layout.blocks() + 1);
  for (int64_t b = 0; b <= bench.layout.blocks(); ++b)
    EXPECT_EQ(begins[static_cast<size_t>(b)], bench.layout.segment_begin(b));
  const std::vector<ops::TensorRule> rules = fetched(bench.state, table.rules, 4);
  const bool decays[] = {true, false, true, false}, statistic[] = {false, false, false, true};
  for (size_t t = 0; t < 4; ++t) {
    EXPECT_EQ(rules[t].decays, decays[t]) << t;
    EXPECT_EQ(rules[t].statistic, statistic[t]) << t;
    EXPECT_EQ(rules[t].l2, t == 0 ? 0.01f : 0.f) << t;
  }
}

TEST(DeviceState, BlocksAreThoseOfTheSlice) {
  StateBench bench(0);
  EXPECT_EQ(bench.state.elements(), bench.layout.elements());
  EXPECT_LE(bench.state.first_block(), bench.state.end_block());
  std::vector<int64_t> blocks{bench.state.end_block() - bench.state.first_block()};
  EXPECT_EQ(blocks[0] == 0, bench.slice() == 0);
  bench.world.all_sum(blocks);
  EXPECT_EQ(blocks[0], bench.layout.blocks()) << "each block on one node";
}

}  // namespace
}  // namespace lepton::train
