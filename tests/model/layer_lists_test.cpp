// SPDX-License-Identifier: Apache-2.0
// Lists of layers: names, who reads whom, shared weights, frozen layers; and what is refused of all that.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/layers.h"
#include "model/networks.h"

namespace lepton::model {

namespace {

using Names = std::vector<std::string>;

LayerSpec add(const Names& from, const Options& more = {}) {
  Options options = {{"from", from}};
  options.insert(options.end(), more.begin(), more.end());
  return layer("add", options);
}

int output(const Graph& graph, const std::string& name) {
  return node_named(graph, name).output;
}

}  // namespace

TEST(LayerLists, ALayerReadsTheOneBeforeItOrWhatItNames) {
  const Graph graph = graph_of(
      {4}, {dense(6, {{"name", "trunk"}}), dense(3), dense(3, {{"from", "trunk"}}),
            dense(3, {{"from", Names{"input"}}, {"name", "short"}}), add({"dense_3", "short", "dense_2"})});
  EXPECT_EQ(node_named(graph, "dense_2").inputs, (std::vector<int>{output(graph, "trunk")}));
  EXPECT_EQ(node_named(graph, "dense_3").inputs, (std::vector<int>{output(graph, "trunk")}));
  EXPECT_EQ(node_named(graph, "short").inputs, (std::vector<int>{0}));
  EXPECT_EQ(node_named(graph, "add_1.sum_1").inputs,
            (std::vector<int>{output(graph, "dense_3"), output(graph, "short")}));
  EXPECT_EQ(node_named(graph, "add_1").inputs,
            (std::vector<int>{output(graph, "add_1.sum_1"), output(graph, "dense_2")}));
  EXPECT_EQ(graph.nodes.back().name, "add_1");
}

TEST(LayerLists, AnOutputIsThatBehindTheActivation) {
  const Graph graph =
      graph_of({4}, {dense(4, {{"activation", "tanh"}}), add({"dense_1", "input"}), dense(2)});
  EXPECT_EQ(node_named(graph, "add_1").inputs, (std::vector<int>{output(graph, "dense_1.tanh"), 0}));
}

TEST(LayerLists, ANestedListIsAScopeOfItsOwn) {
  const Graph graph = graph_of(
      {4},
      {dense(4), residual({dense(4), dense(4, {{"from", "input"}}), add({"dense_1", "dense_2", "input"})})});
  const int before = output(graph, "dense_1");
  EXPECT_EQ(node_named(graph, "residual_1.dense_1").inputs, (std::vector<int>{before}));
  EXPECT_EQ(node_named(graph, "residual_1.dense_2").inputs, (std::vector<int>{before}));
  EXPECT_EQ(node_named(graph, "residual_1.add_1.sum_1").inputs,
            (std::vector<int>{output(graph, "residual_1.dense_1"), output(graph, "residual_1.dense_2")}));
  EXPECT_EQ(node_named(graph, "residual_1.add_1").inputs.back(), before);
  // Names of the list around it are unknown in it.
  ModelSpec spec = network({4}, {dense(4, {{"name", "outer"}}), residual({dense(4, {{"from", "outer"}})})});
  expect_deck_error(spec, "deck.toml:1:101",
                    {"layer \"residual_1.dense_1\"", "\"outer\"", "no layer before it in its list"});
}

TEST(LayerLists, FromRefuses) {
  const auto refuse = [](std::vector<LayerSpec> layers, const std::string& where, const Names& pieces) {
    expect_deck_error(network({4}, std::move(layers)), where, pieces);
  };
  refuse(
      {dense(4), dense(4, {{"from", "dense_l"}})}, "deck.toml:2:101",
      {"layer \"dense_2\"", "from names \"dense_l\"", "Did you mean \"dense_1\"?", "\"input\", \"dense_1\""});
  refuse({dense(4, {{"from", "dense_2"}}), dense(4)}, "deck.toml:1:101",
         {"from names \"dense_2\", which does not stand before it"});
  refuse({dense(4, {{"from", "dense_1"}})}, "deck.toml:1:101", {"which does not stand before it"});
  refuse({dense(4), dense(4, {{"from", Names{"dense_1", "input"}}})}, "deck.toml:2:101",
         {"type dense reads one output, not 2", "add"});
  refuse({dense(4), layer("add")}, "deck.toml:2:5", {"type add reads 2 or more outputs, not 1", "from = ["});
  refuse({dense(4), add({"dense_1"})}, "deck.toml:2:100", {"reads 2 or more outputs, not 1"});
  refuse({dense(4), add({"dense_1", "dense_1"})}, "deck.toml:2:100", {"\"dense_1\" twice"});
  refuse({dense(4), dense(4, {{"from", 3}})}, "deck.toml:2:101", {"from = 3 is not the name of a layer"});
  refuse({dense(4), dense(4, {{"from", List{}}})}, "deck.toml:2:101", {"is not the name of a layer"});
  refuse({dense(4), dense(5), dense(4, {{"from", "dense_1"}})}, "deck.toml:2:5",
         {"layer \"dense_2\"", "nobody reads its output"});
  refuse({dense(4), residual({dense(4), dense(4, {{"from", "input"}})})}, "deck.toml:1:5",
         {"layer \"residual_1.dense_1\"", "nobody reads its output"});
  refuse({dense(4, {{"name", "input"}})}, "deck.toml:1:101", {"what `from` calls an input"});
  refuse({dense(5), dense(4), add({"dense_1", "dense_2"})}, "deck.toml:3:100",
         {"layer \"add_1\"", "the first is [5] and number 2 is [4]"});
}

TEST(LayerLists, SeveralInputsAreNamed) {
  const std::vector<LayerSpec> layers = {dense(4, {{"from", "a"}}), dense(4, {{"from", "b"}}),
                                         add({"dense_1", "dense_2"})};
  NetworkNames network;
  const std::vector<ReadLayer> read = read_layers(network, layers, "", "", {"a", "b"});
  EXPECT_EQ(read[0].sources, (std::vector<int>{-1}));
  EXPECT_EQ(read[1].sources, (std::vector<int>{-2}));
  EXPECT_EQ(read[2].sources, (std::vector<int>{0, 1}));
}

TEST(LayerLists, InitialValuesSuitTheActivationOfTheReader) {
  using Kind = Initialiser::Kind;
  const Graph graph = graph_of(
      {4}, {dense(4, {{"name", "a"}}), dense(4, {{"name", "b"}, {"from", "input"}}),
            layer("tanh", {{"from", "a"}}), layer("relu", {{"from", "b"}}), add({"tanh_1", "relu_1"}),
            dense(4, {{"name", "c"}}), add({"c", "add_1"}, {{"activation", "relu"}}), dense(2)});
  const auto kind = [&](const char* name) {
    return graph.initialisers[size_t(tensor_named(graph, name))].kind;
  };
  EXPECT_EQ(kind("a.weight"), Kind::glorot_uniform);
  EXPECT_EQ(kind("b.weight"), Kind::he_normal);
  EXPECT_EQ(kind("c.weight"), Kind::he_normal);
}

TEST(LayerLists, ALayerUsesTheParametersOfAnother) {
  const Graph graph = graph_of({4}, {dense(4), dense(4, {{"weights_of", "dense_1"}}),
                                     dense(4, {{"weights_of", "dense_2"}}), dense(2)});
  EXPECT_EQ(graph.layout.tensors().size(), 4U);
  EXPECT_EQ(node_named(graph, "dense_2").parameters, node_named(graph, "dense_1").parameters);
  EXPECT_EQ(node_named(graph, "dense_3").parameters, node_named(graph, "dense_1").parameters);
  EXPECT_EQ(contributions_most(graph), 3);
  EXPECT_EQ(gradient_elements(graph), 3 * (16 + 4) + 8 + 2);
  EXPECT_EQ(contributions_most(graph_of({4}, {dense(4)})), 1);
  EXPECT_NE(describe(graph).find("total                              30"), std::string::npos)
      << describe(graph);
}

TEST(LayerLists, ADenseLayerUsesAnEmbeddingsTableWithABiasOfItsOwn) {
  const std::vector<LayerSpec> layers = {layer("embedding", {{"rows", 9}, {"width", 4}}), layer("layer_norm"),
                                         dense(9, {{"weights_of", "embedding_1"}})};
  const Graph graph = graph_of({5}, layers);
  const int table = tensor_named(graph, "embedding_1.weight"), bias = tensor_named(graph, "dense_1.bias");
  EXPECT_EQ(node_named(graph, "dense_1").parameters, (std::vector<int>{table, bias}));
}

TEST(LayerLists, WholeBlocksAreShared) {
  const LayerSpec block = layer("transformer_block", {{"heads", 2}});
  LayerSpec again = block;
  again.options["weights_of"] = {std::string("transformer_block_1"), {"deck.toml", 1, 1}};
  const Graph one = graph_of({3, 4}, {block}), two = graph_of({3, 4}, {block, again});
  EXPECT_EQ(two.layout.parameter_count(), one.layout.parameter_count());
  EXPECT_EQ(two.nodes.size(), 2 * one.nodes.size());
  // A nested layer, by its whole name from elsewhere and by its short one in its list.
  const Graph nested = graph_of({4}, {residual({dense(4), dense(4, {{"weights_of", "dense_1"}})}),
                                      dense(4, {{"weights_of", "residual_1.dense_1"}})});
  EXPECT_EQ(nested.layout.parameter_count(), 20);
}

TEST(LayerLists, WeightsOfRefuses) {
  const auto refuse = [](std::vector<LayerSpec> layers, const std::string& where, const Names& pieces) {
    expect_deck_error(network({4}, std::move(layers)), where, pieces);
  };
  refuse({dense(4), dense(4, {{"weights_of", "dense_l"}})}, "deck.toml:2:101",
         {"weights_of names \"dense_l\", but no layer before it", "Did you mean \"dense_1\"?"});
  refuse({dense(4, {{"weights_of", "dense_2"}}), dense(4)}, "deck.toml:1:101",
         {"weights_of names \"dense_2\", which does not stand before it"});
  refuse({dense(5), dense(4, {{"weights_of", "dense_1"}})}, "deck.toml:2:101",
         {"layer \"dense_2\"", "dense_2.weight would be [4, 5]", "dense_1.weight is [5, 4]"});
  refuse({dense(4), layer("relu"), dense(4, {{"weights_of", "relu_1"}})}, "deck.toml:3:101",
         {"weights_of = \"relu_1\" gives it nothing"});
  refuse({dense(4), layer("relu", {{"weights_of", "dense_1"}})}, "deck.toml:2:100", {"gives it nothing"});
  refuse({dense(4), dense(4, {{"weights_of", 1}})}, "deck.toml:2:101", {"is not the name of a layer"});
  refuse({layer("batch_norm"), layer("batch_norm", {{"weights_of", "batch_norm_1"}})}, "deck.toml:2:100",
         {"cannot share the running statistics"});
  for (const char* option : {"init_deviation", "l2"})
    refuse({dense(4), dense(4, {{"weights_of", "dense_1"}, {option, 0.5}})}, "deck.toml:2:102",
           {std::string(option) + " has no effect"});
  refuse({dense(4), dense(4, {{"weights_of", "dense_1"}, {"init", "zeros"}})}, "deck.toml:2:102",
         {"init has no effect"});
}

TEST(LayerLists, FrozenLayersAreMarkedWithAllThatIsInThem) {
  LayerSpec block = residual({dense(4), layer("batch_norm")});
  block.options["frozen"] = {true, {"deck.toml", 1, 1}};
  const Graph graph = graph_of({4}, {dense(4, {{"frozen", false}}), block, layer("batch_norm"), dense(2)});
  for (const ArenaTensor& entry : graph.layout.tensors())
    EXPECT_EQ(entry.frozen, entry.name.starts_with("residual_1.")) << entry.name;
  const auto mode = [&](const char* name) {
    return ops::int_attribute(node_named(graph, name).attributes, "training_mode", 1);
  };
  EXPECT_EQ(mode("residual_1.batch_norm_1"), 0);
  EXPECT_EQ(mode("batch_norm_1"), 1);
  EXPECT_TRUE(arena_tensor(graph, "residual_1.batch_norm_1.running_mean").frozen);
  EXPECT_EQ(gradient_elements(graph), (16 + 4) + 4 * 4 + (8 + 2));
  EXPECT_NE(describe(graph).find("frozen of them"), std::string::npos);
}

TEST(LayerLists, FrozenRefuses) {
  const auto refuse = [](std::vector<LayerSpec> layers, const std::string& where, const Names& pieces) {
    expect_deck_error(network({4}, std::move(layers)), where, pieces);
  };
  const Options frozen = {{"frozen", true}};
  refuse({dense(4), layer("relu", frozen)}, "deck.toml:2:100",
         {"layer \"relu_1\"", "frozen = true has no effect"});
  refuse({dense(4), dense(4, {{"weights_of", "dense_1"}, {"frozen", true}})}, "deck.toml:2:101",
         {"frozen = true has no effect", "Freeze the layer whose weights it uses"});
  refuse({dense(4, frozen), dense(2, frozen)}, "deck.toml:99:1", {"all parameters are frozen"});
  refuse({dense(4, {{"frozen", 1}})}, "deck.toml:1:101", {"frozen = 1 is not true or false"});
}

/// What a frozen layer has of its own beside shared weights is frozen.
TEST(LayerLists, FrozenWithSharedWeightsIsTheBias) {
  const Graph graph =
      graph_of({4}, {dense(4, {{"bias", false}}), dense(4, {{"weights_of", "dense_1"}, {"frozen", true}})});
  EXPECT_FALSE(arena_tensor(graph, "dense_1.weight").frozen);
  EXPECT_TRUE(arena_tensor(graph, "dense_2.bias").frozen);
}

TEST(LayerLists, GradientsOfAGraphWithSharedWeights) {
  const Options tanh = {{"activation", "tanh"}};
  const auto shared = [&](int64_t units, const std::string& owner, const Options& more) {
    Options options = {{"weights_of", owner}};
    options.insert(options.end(), more.begin(), more.end());
    return dense(units, options);
  };
  Bench bench(
      graph_of({5}, {dense(5, tanh), shared(5, "dense_1", tanh), shared(5, "dense_1", {{"from", "input"}}),
                     layer("softplus", {{"from", "dense_1"}}),
                     add({"dense_2", "dense_3", "softplus_1", "input"}), layer("layer_norm"), dense(3)}),
      {6});
  expect_gradients(bench, 6, 5e-3);
}

/// By rows, and whole or in parts.
TEST(LayerLists, GradientsOfAnEmbeddingThatGivesTheScoresToo) {
  for (const int64_t rows : {23, 3000}) {
    Bench bench(
        graph_of({4}, {layer("embedding", {{"rows", rows}, {"width", 8}, {"init_deviation", 0.7}}),
                       layer("attention", {{"heads", 2}, {"init", "normal"}, {"init_deviation", 0.4}}),
                       dense(rows, {{"weights_of", "embedding_1"}, {"bias", false}})}),
        {3});
    expect_gradients(bench, 3, 1e-2);
  }
}

/// Gradients that would come in parts or by rows.
TEST(LayerLists, WhatIsFrozenHandsOutNothing) {
  const auto handed_out = [](const Graph& graph) {
    Bench bench(graph, {3});
    std::vector<std::string> names;
    for (const int t : bench.backward(3).order)
      names.push_back(bench.graph().layout.tensors()[size_t(t)].name);
    return names;
  };
  const auto wide = [](bool frozen) {
    return graph_of({300}, {dense(300), dense(500, {{"name", "wide"}, {"bias", false}, {"frozen", frozen}})});
  };
  EXPECT_EQ(handed_out(wide(false)), (Names{"wide.weight", "dense_1.bias", "dense_1.weight"}));
  EXPECT_EQ(handed_out(wide(true)), (Names{"dense_1.bias", "dense_1.weight"}));
  EXPECT_EQ(handed_out(graph_of({4}, {layer("embedding", {{"rows", 9}, {"width", 4}, {"frozen", true}}),
                                      dense(9, {{"weights_of", "embedding_1"}})})),
            (Names{"dense_1.bias"}));
}

TEST(LayerLists, GradientsThroughFrozenLayers) {
  const Options frozen = {{"frozen", true}, {"activation", "tanh"}};
  Bench bench(graph_of({5}, {dense(6, {{"name", "first"}, {"frozen", true}}), dense(6), dense(6, frozen),
                             layer("batch_norm", {{"frozen", true}}), layer("batch_norm"), dense(3)}),
              {6});
  expect_gradients(bench, 6, 5e-3);
  // Nothing comes back to what lies before the first layer that learns.
  const std::vector<bool> needs = values_needing_gradient(bench.graph());
  EXPECT_FALSE(needs[static_cast<size_t>(output(bench.graph(), "first"))]);
  EXPECT_TRUE(needs[static_cast<size_t>(output(bench.graph(), "dense_2"))]);
}

}  // namespace lepton::model
