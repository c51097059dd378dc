// SPDX-License-Identifier: Apache-2.0
// Parts of shards reach their writers whole, whatever the nodes and slices, several checkpoints in a row; one
// node uses its copy where it lies.
#include "checkpoint/shard_exchange.h"

#include "mpi_sample.h"

namespace lepton::checkpoint {
namespace {

std::vector<float> copy_of_slice(const StateLayout& layout, int64_t begin, int64_t end) {
  std::vector<float> copy;
  for (size_t a = 0; a < layout.arrays.size(); ++a)
    for (int64_t i = begin; i < end; ++i) copy.push_back(sample_value(1, a, i));
  return copy;
}

void exchange_all(const comm::World& world, const StateLayout& layout, ShardExchange& exchange) {
  int64_t seen = 0;
  for (int64_t round = 0; round < exchange.rounds(); ++round) {
    exchange.post(round);
    if (round % 2 == 0) exchange.wait();
    while (!exchange.test()) continue;
    const std::optional<int64_t> shard = exchange.shard_of(round);
    if (!shard) continue;
    ++seen;
    EXPECT_EQ(*shard % world.nodes(), world.node());
    const std::vector<std::span<const float>> arrays = exchange.arrays(*shard);
    ASSERT_EQ(arrays.size(), layout.arrays.size());
    for (size_t a = 0; a < arrays.size(); ++a) {
      ASSERT_EQ(static_cast<int64_t>(arrays[a].size()),
                layout.shard_end(*shard) - layout.shard_begin(*shard));
      for (size_t i = 0; i < arrays[a].size(); ++i)
        ASSERT_EQ(arrays[a][i], sample_value(1, a, layout.shard_begin(*shard) + static_cast<int64_t>(i)));
    }
  }
  EXPECT_EQ(seen, (layout.shards() - world.node() + world.nodes() - 1) / world.nodes());
}

TEST(ShardExchange, every_shard_reaches_its_writer_whole) {
  for_each_world([](const comm::World& world) {
    for (const StateLayout& layout :
         {StateLayout{1000, {"parameters", "adam.m", "adam.v"}, 128}, StateLayout{10, {"parameters"}, 1000},
          StateLayout{4096, {"parameters"}, 64}}) {
      const std::vector<int64_t> slices = sample_slices(layout.elements, world.nodes(), 16);
      const size_t node = static_cast<size_t>(world.node());
      const std::vector<float> copy = copy_of_slice(layout, slices[node], slices[node + 1]);
      if (!world.leads()) continue;
      ShardExchange exchange(world, layout, slices, copy);
      for (int repeat = 0; repeat < 2; ++repeat) {
        exchange_all(world, layout, exchange);
        exchange.release();
      }
    }
  });
}

TEST(ShardExchange, one_node_copies_nothing) {
  const comm::World world(60, 1000);
  if (world.nodes() > 1 || !world.leads()) return;
  const StateLayout layout = {1000, {"parameters", "adam.m"}, 300};
  const std::vector<float> copy = copy_of_slice(layout, 0, 1000);
  ShardExchange exchange(world, layout, {0, 1000}, copy);
  for (int64_t round = 0; round < exchange.rounds(); ++round) {
    exchange.post(round);
    ASSERT_TRUE(exchange.test());
  }
  EXPECT_EQ(exchange.arrays(1)[1].data(), copy.data() + 1000 + 300);
}

}  // namespace
}  // namespace lepton::checkpoint
