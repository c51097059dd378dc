// SPDX-License-Identifier: Apache-2.0
// graph_conv: its nodes, every option (each test fails if its option is ignored), and refusals.
#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

namespace {

ModelSpec on_graph(const Options& more, Shape input = {3, 5}) {
  Options options = {{"units", 4}};
  options.insert(options.end(), more.begin(), more.end());
  ModelSpec spec = network(std::move(input), {layer("graph_conv", options)});
  spec.positions = 0;
  spec.adjacency = std::make_shared<const ops::SparseMatrix>(
      ops::SparseMatrix{3, 3, {0, 1, 3, 4}, {1, 0, 2, 1}, {1, 1, 1, 1}});
  return spec;
}

std::vector<float> values(const Options& more) {
  const Graph graph = build_graph(on_graph(more));
  return ops::matrix_attribute(node_named(graph, "graph_conv_1.neighbours").attributes, "matrix").values;
}

}  // namespace

TEST(LayersGraph, GraphConv) {
  const Graph graph = build_graph(on_graph({{"activation", "relu"}, {"l2", 0.5}}));
  std::vector<std::string> types;
  for (const Node& node : graph.nodes) types.push_back(node.type);
  EXPECT_EQ(types, (std::vector<std::string>{"Gemm", "SparseMatMul", "Add", "Relu"}));
  EXPECT_EQ(graph.values.back().shape, (Shape{3, 4}));
  EXPECT_EQ(graph.layout.tensors()[0].name, "graph_conv_1.weight");
  EXPECT_EQ(graph.layout.tensors()[0].shape, (Shape{4, 5}));
  EXPECT_EQ(graph.layout.tensors()[0].l2, 0.5);
  EXPECT_EQ(graph.layout.tensors()[1].shape, (Shape{4}));
  EXPECT_EQ(build_graph(on_graph({{"bias", false}})).layout.tensors().size(), 1U);
}

TEST(LayersGraph, Normalisation) {
  EXPECT_EQ(values({{"normalize", "none"}, {"self_loops", false}}), (std::vector<float>{1, 1, 1, 1}));
  EXPECT_EQ(values({{"normalize", "none"}}), (std::vector<float>(7, 1)));
  EXPECT_EQ(values({{"normalize", "rows"}, {"self_loops", false}}), (std::vector<float>{1, 0.5F, 0.5F, 1}));
  EXPECT_FLOAT_EQ(values({})[0], 0.5F);  // of two
}

TEST(LayersGraph, Refusals) {
  ModelSpec none = on_graph({});
  none.adjacency = nullptr;
  expect_deck_error(none, "deck.toml:1:5", {"needs a graph", "data.adjacency"});
  expect_deck_error(on_graph({}, {4, 5}), "deck.toml:1:5", {"3 nodes", "[4, 5]"});
  expect_deck_error(on_graph({{"normalize", "both"}}), "deck.toml:1:101", {"normalize = \"both\""});
}

}  // namespace lepton::model
