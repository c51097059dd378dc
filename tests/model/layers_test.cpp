// SPDX-License-Identifier: Apache-2.0
// The walk over a deck's layers: names, nesting, the ends of the network, unknown types, and the reference.
#include "model/layers.h"

#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

TEST(Layers, NamesAreTypeAndRunningNumber) {
  const Graph graph =
      graph_of({6}, {layer("dense", {{"units", 4}}), layer("relu"), layer("dense", {{"units", 3}}),
                     layer("dense", {{"units", 2}, {"name", "head"}})});
  const std::vector<std::string> expected = {"dense_1", "relu_1", "dense_2", "head"};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(graph.nodes[i].name, expected[i]);
  EXPECT_EQ(graph.layout.tensors().back().name, "head.bias");
}

TEST(Layers, NestedNamesCarryTheirResidual) {
  const LayerSpec inner = residual({layer("dense", {{"units", 4}})}, {layer("dense", {{"units", 4}})});
  const Graph graph = graph_of({4}, {residual({layer("dense", {{"units", 4}}), inner})});
  EXPECT_EQ(graph.layout.tensors()[0].name, "residual_1.dense_1.weight");
  EXPECT_EQ(graph.layout.tensors()[2].name, "residual_1.residual_1.dense_1.weight");
  EXPECT_EQ(graph.layout.tensors()[4].name, "residual_1.residual_1.projection.dense_1.weight");
  EXPECT_EQ(graph.nodes.back().name, "residual_1.add");
}

TEST(Layers, Names) {
  const auto named = [](const OptionValue& name) { return layer("dense", {{"units", 4}, {"name", name}}); };
  expect_deck_error(network({6}, {named("a"), named("a")}), "deck.toml:2:5",
                    {"layer \"a\"", "another layer has this name"});
  expect_deck_error(network({6}, {named("a.b")}), "deck.toml:1:101",
                    {"layer \"dense_1\"", "name = \"a.b\" is not a name"});
  expect_deck_error(network({6}, {named("")}), "deck.toml:1:101", {"is not a name"});
  expect_deck_error(network({6}, {named(3)}), "deck.toml:1:101", {"name = 3 is not a name"});
}

TEST(Layers, UnknownTypeGivesTheNearest) {
  expect_deck_error(network({6}, {layer("dense", {{"units", 4}}), layer("dens")}), "deck.toml:2:5",
                    {"unknown layer type \"dens\"", "Did you mean \"dense\"?", "\"global_avg_pool2d\""});
  expect_deck_error(network({6}, {layer("transformer_xyz")}), "deck.toml:1:5",
                    {"unknown layer type", "There are \"dense\""});
}

/// Layers that are refused without any input: by the check alone, and with the same words by the graph.
TEST(Layers, WhatNeedsNoShapesIsCheckedWithoutAnInput) {
  const auto refused = [](std::vector<LayerSpec> layers, const std::string& part) {
    const auto message = [](auto&& work) -> std::string {
      try {
        work();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::deck);
        return error.what();
      }
      return "nothing was refused";
    };
    const std::string by_check = message([&] { check_layers(network({}, layers)); });
    EXPECT_NE(by_check.find(part), std::string::npos) << part << "\nnot in:\n" << by_check;
    EXPECT_EQ(message([&] { build_graph(network({3, 8, 8}, layers)); }), by_check);
  };
  const LayerSpec norm = layer("batch_norm", {{"momentum", 0.5}});
  refused({}, "the model has no layers");
  refused({layer("dens", {{"units", 4}})}, "Did you mean \"dense\"?");
  refused({layer("flatten"), layer("dense")}, "needs the option \"units\"");
  refused({layer("dense", {{"units", 4}, {"activaton", "relu"}})}, "Did you mean \"activation\"?");
  refused({layer("dense", {{"units", 4}, {"activation", "rleu"}})}, "Did you mean \"relu\"?");
  refused({layer("dense", {{"units", 4}, {"init", "he_norml"}})}, "Did you mean \"he_normal\"?");
  refused({layer("dense", {{"units", 4}, {"init_deviation", 1}})}, "has no effect");
  refused({layer("dense", {{"units", 4}, {"l2", -1}})}, "l2 = -1");
  refused({layer("dense", {{"units", 4}, {"bias", 1}})}, "bias = 1");
  refused({layer("conv2d", {{"filters", 4}, {"kernel", 0}})}, "kernel = 0");
  refused({layer("conv2d", {{"filters", 4}, {"kernel", 3}, {"padding", "sane"}})}, "Did you mean \"same\"?");
  refused({layer("conv2d", {{"filters", 4}, {"kernel", 3}, {"groups", 3}})}, "does not divide the 4 filters");
  refused({layer("max_pool2d", {{"size", 2}, {"padding", 2}})}, "leaves windows without any input");
  refused({norm, layer("batch_norm")}, "share one momentum");
  refused({layer("layer_norm", {{"epsilon", 0}})}, "epsilon = 0");
  refused({layer("dropout", {{"rate", 1.5}})}, "rate = 1.5");
  refused({layer("reshape", {{"shape", List{-1, -1}}})}, "is not a shape");
  refused({layer("elu", {{"alpha", 0}})}, "alpha = 0");
  refused({layer("relu", {{"name", "a"}}), layer("tanh", {{"name", "a"}})}, "another layer has this name");
  refused({residual({layer("relu"), layer("dropout", {{"rate", 2}})})}, "layer \"residual_1.dropout_1\"");
  refused({residual({layer("relu")}, {layer("rleu")})}, "layer \"residual_1.projection.rleu_1\"");
  refused({residual({residual({norm}), layer("batch_norm")})}, "share one momentum");
  EXPECT_NO_THROW(check_layers(
      network({}, {layer("dense", {{"units", 4}}), layer("conv2d", {{"filters", 1}, {"kernel", 9}})})))
      << "whether layers fit each other is found when there is an input";
}

TEST(Layers, OutputsCanBeCheckedLater) {
  ModelSpec spec = network({6}, {layer("dense", {{"units", 12}})});
  const Graph graph = build_graph(spec);
  EXPECT_NO_THROW(check_outputs(graph, spec));
  spec.outputs = 12;
  EXPECT_NO_THROW(check_outputs(graph, spec));
  spec.outputs = 10;
  try {
    check_outputs(graph, spec);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_EQ(error.where(), "deck.toml:1:5");
    EXPECT_NE(error.problem().find("gives [12], but the targets ask for [10]"), std::string::npos);
  }
}

TEST(Layers, EndsOfTheNetwork) {
  expect_deck_error(network({6}, {}), "deck.toml:99:1", {"the model has no layers"});
  expect_deck_error(network({}, {layer("relu")}), "deck.toml:99:1", {"input [] holds no values"});
  expect_deck_error(network({3, 0, 4}, {layer("relu")}), "deck.toml:99:1",
                    {"input [3, 0, 4] holds no values"});
  expect_deck_error(network({6}, {layer("relu"), layer("dense", {{"units", 12}})}, 10), "deck.toml:2:5",
                    {"layer \"dense_1\"", "gives [12]", "targets ask for [10]", "units = 10"});
  expect_deck_error(network({3, 4, 4}, {layer("relu")}), "deck.toml:1:5",
                    {"layer \"relu_1\"", "[3, 4, 4]", "flatten"});
  EXPECT_EQ(build_graph(network({6}, {layer("dense", {{"units", 10}})}, 10)).outputs(), 10);
}

/// A stem, an image behind it, a vector from that, and one from the stem.
ModelSpec with_heads(std::vector<HeadSpec> heads) {
  ModelSpec spec =
      network({2, 4, 5},
              {layer("conv2d", {{"filters", 3}, {"kernel", 3}, {"padding", "same"}, {"activation", "tanh"}}),
               layer("conv2d", {{"filters", 4}, {"kernel", 1}, {"name", "pixels"}}), layer("flatten"),
               layer("dense", {{"units", 2}, {"name", "kind"}}),
               layer("flatten", {{"from", std::vector<std::string>{"conv2d_1"}}}),
               layer("dense", {{"units", 3}, {"name", "size"}})});
  for (HeadSpec& head : heads) head.position = {"deck.toml", 50, 1};
  spec.heads = std::move(heads);
  return spec;
}

TEST(Layers, SeveralOutputsLieSideBySide) {
  const Graph graph = build_graph(
      with_heads({{"a", "pixels", 4, 20}, {"b", "size", 3, 1}, {"c", "kind", 2, 1}, {"d", "size", 0, 1}}));
  ASSERT_EQ(graph.heads.size(), 4U);
  EXPECT_EQ(graph.outputs(), 80 + 3 + 2 + 3);
  const int64_t firsts[] = {0, 80, 83, 85}, counts[] = {80, 3, 2, 3};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(graph.heads[i].first, firsts[i]);
    EXPECT_EQ(graph.heads[i].count, counts[i]);
  }
  EXPECT_EQ(graph.heads[0].name, "a");
  EXPECT_EQ(graph.heads[0].value, node_named(graph, "pixels").output);
  EXPECT_EQ(graph.joining_nodes, 6U) << "a Transpose, a Flatten each, a Concat";
  Bench bench(graph, {3}, {3});
  expect_gradients(bench, 3, 2e-3);
  // Pixels with all their classes, one behind the other, as they are where they are the only output.
  ModelSpec alone = with_heads({});
  alone.layers.resize(2);
  alone.positions = 0;
  Bench pixels(build_graph(alone), {}, {3});
  std::copy_n(bench.arena.begin(), pixels.arena.size(), pixels.arena.begin());
  const std::vector<float> all = bench.forward(3, false), own = pixels.forward(3, false);
  for (size_t sample = 0; sample < 3; ++sample)
    for (size_t i = 0; i < 80; ++i) EXPECT_EQ(all[sample * 88 + i], own[sample * 80 + i]) << i;
}

TEST(Layers, OneOutputByNameIsThatOutput) {
  ModelSpec spec = with_heads({{"a", "pixels", 4, 20}});
  spec.layers.resize(2);
  const Graph graph = build_graph(spec);
  EXPECT_EQ(graph.joining_nodes, 2U);
  EXPECT_EQ(graph.outputs(), 80);
}

TEST(Layers, OutputsAreRefused) {
  expect_deck_error(with_heads({{"a", "pixel", 0, 1}}), "deck.toml:4:5", {"nobody reads its output"});
  expect_deck_error(with_heads({{"a", "kind", 2, 1}, {"b", "size", 3, 1}, {"c", "sise", 3, 1}}),
                    "deck.toml:50:1", {"the loss \"c\" is of \"sise\"", "Did you mean \"size\"?"});
  expect_deck_error(with_heads({{"a", "kind", 2, 1}}), "deck.toml:6:5", {"nobody reads its output"});
  expect_deck_error(with_heads({{"a", "kind", 5, 1}, {"b", "size", 3, 1}}), "deck.toml:50:1",
                    {"what the loss \"a\" is of gives [2]", "the targets ask for [5]"});
  expect_deck_error(with_heads({{"a", "pixels", 4, 19}, {"b", "size", 3, 1}, {"c", "kind", 2, 1}}),
                    "deck.toml:50:1", {"19 class ids per sample"});
}

}  // namespace lepton::model
