// SPDX-License-Identifier: Apache-2.0
// Nothing is allocated in a unit, whatever kind of network it is of. (Dense, convolutional and recurrent
// ones: executor_test; whole steps: train/step_allocations.)
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "allocations.h"
#include "model/networks.h"

namespace lepton::model {

namespace {

using Froms = std::vector<std::string>;

class NoSink : public GradientSink {
  void gradient(int, int64_t, std::span<const float>) override {}
};

LayerSpec words() {
  return layer("embedding", {{"rows", 20}, {"width", 8}});
}

Graph transformer() {
  return graph_of({5}, {words(), layer("positional_embedding"),
                        layer("transformer_block", {{"heads", 2}, {"causal", true}, {"dropout", 0.2}}),
                        layer("attention", {{"heads", 2}}), layer("rms_norm"), dense(3)});
}

/// Lengths, a mask, another sequence.
Graph cross_attention() {
  ModelSpec spec = network(
      {6},
      {words(), layer("transformer_block", {{"heads", 2}, {"from", Froms{"embedding_1", "text.length"}}}),
       layer("attention", {{"heads", 2}, {"from", Froms{"transformer_block_1", "memory", "mask"}}}),
       layer("global_avg_pool1d", {{"from", Froms{"attention_1", "text.length"}}}), dense(2)});
  spec.inputs = {{"text", {6}}, {"text.length", {1}}, {"memory", {5, 8}}, {"mask", {5}}};
  spec.positions = 0;
  return build_graph(spec);
}

Graph convolutions_of_text() {
  return graph_of({12}, {words(), layer("conv1d", {{"filters", 6}, {"kernel", 3}, {"activation", "relu"}}),
                         layer("max_pool1d"), layer("conv1d_transpose", {{"filters", 4}, {"kernel", 2}}),
                         layer("global_max_pool1d"), dense(2)});
}

Graph volumes() {
  return graph_of({1, 8, 8, 8},
                  {layer("conv3d", {{"filters", 4}, {"kernel", 3}, {"activation", "leaky_relu"}}),
                   layer("group_norm", {{"groups", 2}}), layer("max_pool3d"), layer("flatten"), dense(4)});
}

Graph unet() {
  return graph_of(
      {2, 8, 8},
      {layer("conv2d", {{"filters", 4}, {"kernel", 3}, {"padding", "same"}, {"name", "fine"}}),
       layer("instance_norm"), layer("prelu"), layer("max_pool2d"),
       layer("conv2d_transpose", {{"filters", 4}, {"kernel", 2}, {"stride", 2}, {"name", "learned"}}),
       layer("avg_pool2d"), layer("upsample2d", {{"scale", 2}, {"mode", "linear"}, {"name", "linear"}}),
       layer("max_pool2d"), layer("upsample2d", {{"scale", 2}, {"name", "nearest"}}),
       layer("concat", {{"from", Froms{"nearest", "fine", "linear", "learned"}}}), layer("log_softmax"),
       layer("flatten")});
}

Graph of_a_graph() {
  ModelSpec spec = network({3, 5}, {layer("graph_conv", {{"units", 4}, {"activation", "selu"}}), dense(2)});
  spec.adjacency = std::make_shared<const ops::SparseMatrix>(
      ops::SparseMatrix{3, 3, {0, 1, 3, 4}, {1, 0, 2, 1}, {1, 1, 1, 1}});
  spec.positions = 0;
  return build_graph(spec);
}

}  // namespace

TEST(Executor, NoKindOfNetworkAllocates) {
  SKIP_WHERE_NOTHING_IS_COUNTED();
  const std::map<std::string, Graph> graphs = {{"transformer", transformer()},
                                               {"cross_attention", cross_attention()},
                                               {"text", convolutions_of_text()},
                                               {"volumes", volumes()},
                                               {"unet", unet()},
                                               {"graph", of_a_graph()}};
  for (const auto& [name, graph] : graphs) {
    Bench bench(graph, {4}, {6});
    const std::vector<int64_t> four = bench.ids(4), six = bench.ids(6);
    NoSink sink;
    for (const bool first : {true, false}) {
      bench.fill_input(4, true);
      bench.fill_output_gradient(4);
      const int64_t trained = allocations_of([&] {
        bench.executor.forward(4, true, bench.arena.data(), four, 1);
        bench.executor.backward(4, bench.arena.data(), four, 1, sink);
      });
      bench.fill_input(6, false);
      const int64_t inferred =
          allocations_of([&] { bench.executor.forward(6, false, bench.arena.data(), six, 1); });
      if (first) continue;
      EXPECT_EQ(trained, 0) << name;
      EXPECT_EQ(inferred, 0) << name;
    }
  }
}

}  // namespace lepton::model
