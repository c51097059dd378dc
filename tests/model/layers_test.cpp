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

TEST(Layers, EveryRowIsInTheReferenceWithItsOptions) {
  const std::string reference = layer_reference();
  EXPECT_EQ(layer_table().size(), 18U);
  for (const LayerRow& row : layer_table()) {
    EXPECT_NE(reference.find(std::string(row.type) + ": " + row.summary), std::string::npos) << row.type;
    for (const OptionRow& option : row.options)
      EXPECT_NE(reference.find(std::string(option.name) + " = " + option.values), std::string::npos)
          << option.name;
  }
  EXPECT_NE(reference.find("units = integer (required)"), std::string::npos);
  EXPECT_NE(reference.find("rate = number (default 0.5)"), std::string::npos);
}

}  // namespace lepton::model
