// SPDX-License-Identifier: Apache-2.0
// dense: shapes, parameters and every option (each test fails if its option is ignored), and refusals.
#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

namespace {

using Kind = Initialiser::Kind;

Initialiser weight_init(const std::vector<LayerSpec>& layers, const Shape& input = {6}) {
  return graph_of(input, layers).initialisers.front();
}

}  // namespace

TEST(LayersWeighted, Dense) {
  const Graph graph = graph_of({6}, {layer("dense", {{"units", 4}})});
  EXPECT_EQ(first_node(graph).type, "Gemm");
  EXPECT_EQ(ops::int_attribute(first_node(graph).attributes, "transB", 0), 1);
  EXPECT_EQ(output_of(graph, "dense_1"), (Shape{4}));
  EXPECT_EQ(arena_tensor(graph, "dense_1.weight").shape, (Shape{4, 6}));
  EXPECT_TRUE(arena_tensor(graph, "dense_1.weight").decays);
  EXPECT_EQ(arena_tensor(graph, "dense_1.bias").shape, (Shape{4}));
  EXPECT_FALSE(arena_tensor(graph, "dense_1.bias").decays);
  EXPECT_EQ(graph.layout.parameter_count(), 28);
}

TEST(LayersWeighted, DenseWithoutBias) {
  const Graph graph = graph_of({6}, {layer("dense", {{"units", 4}, {"bias", false}})});
  EXPECT_EQ(graph.layout.parameter_count(), 24);
  EXPECT_EQ(first_node(graph).parameters.size(), 1U);
}

TEST(LayersWeighted, L2) {
  ModelSpec spec =
      network({6}, {layer("dense", {{"units", 4}}), layer("dense", {{"units", 2}, {"l2", 0.5}})});
  spec.l2 = 0.25;
  const Graph graph = build_graph(spec);
  EXPECT_EQ(arena_tensor(graph, "dense_1.weight").l2, 0.25);
  EXPECT_EQ(arena_tensor(graph, "dense_2.weight").l2, 0.5);
  EXPECT_EQ(arena_tensor(graph, "dense_1.bias").l2, 0.0);
  expect_deck_error(network({6}, {layer("dense", {{"units", 4}, {"l2", -1}})}), "deck.toml:1:101",
                    {"l2 = -1 is not a number from 0 up"});
}

TEST(LayersWeighted, InitialisersByActivation) {
  const auto dense = [](const Options& more) {
    Options options = {{"units", 4}};
    options.insert(options.end(), more.begin(), more.end());
    return layer("dense", options);
  };
  EXPECT_EQ(weight_init({dense({})}).kind, Kind::glorot_uniform);
  EXPECT_EQ(weight_init({dense({{"activation", "tanh"}})}).kind, Kind::glorot_uniform);
  EXPECT_EQ(weight_init({dense({{"activation", "relu"}})}).kind, Kind::he_normal);
  EXPECT_EQ(weight_init({dense({}), layer("batch_norm"), layer("relu")}).kind, Kind::he_normal);
  EXPECT_EQ(weight_init({dense({}), dense({}), layer("relu")}).kind, Kind::glorot_uniform);
  EXPECT_EQ(weight_init({residual({dense({})}, {}, {{"activation", "relu"}})}, {4}).kind, Kind::he_normal);
  EXPECT_EQ(weight_init({residual({dense({})}), layer("gelu")}, {4}).kind, Kind::he_normal);
  const std::vector<std::pair<std::string, Kind>> kinds = {{"he_normal", Kind::he_normal},
                                                           {"he_uniform", Kind::he_uniform},
                                                           {"glorot_normal", Kind::glorot_normal},
                                                           {"glorot_uniform", Kind::glorot_uniform},
                                                           {"normal", Kind::normal},
                                                           {"zeros", Kind::zeros}};
  for (const auto& [name, kind] : kinds) EXPECT_EQ(weight_init({dense({{"init", name}})}).kind, kind) << name;
  EXPECT_EQ(weight_init({dense({{"init", "normal"}, {"init_deviation", 0.5}})}).deviation, 0.5);
  EXPECT_EQ(weight_init({dense({{"init", "normal"}})}).deviation, 0.01);
  EXPECT_EQ(weight_init({dense({})}).fan_in, 6);
  EXPECT_EQ(weight_init({dense({})}).fan_out, 4);
}

TEST(LayersWeighted, DenseRefuses) {
  expect_deck_error(network({6}, {layer("dense")}), "deck.toml:1:5",
                    {"layer \"dense_1\"", "a dense layer needs the option \"units\""});
  expect_deck_error(network({6}, {layer("dense", {{"units", 0}})}), "deck.toml:1:100",
                    {"units = 0 is not an integer"});
  expect_deck_error(
      network({3, 8, 8}, {layer("conv2d", {{"filters", 4}, {"kernel", 3}}), layer("dense", {{"units", 4}})}),
      "deck.toml:2:5", {"layer \"dense_1\"", "[features]", "[4, 6, 6]", "flatten"});
  expect_deck_error(network({6}, {layer("dense", {{"units", 4}, {"init_deviation", 0.1}})}),
                    "deck.toml:1:101", {"init_deviation has no effect without init = \"normal\""});
  expect_deck_error(network({6}, {layer("dense", {{"units", 4}, {"init", "he"}})}), "deck.toml:1:101",
                    {"init = \"he\" is not one of"});
  expect_deck_error(network({6}, {layer("dense", {{"units", 4}, {"bias", "no"}})}), "deck.toml:1:101",
                    {"bias = \"no\" is not true or false"});
  expect_deck_error(network({2000000}, {layer("dense", {{"units", 2000000000}})}), "deck.toml:1:5",
                    {"its weights [2000000000, 2000000] are too large"});
}

}  // namespace lepton::model
