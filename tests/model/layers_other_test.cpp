// SPDX-License-Identifier: Apache-2.0
// Normalisation, dropout, reshaping and residual layers: shapes, parameters, every option, and refusals.
#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

namespace {

LayerSpec strided(int64_t filters, int64_t stride = 1) {
  return layer(
      "conv2d",
      {{"filters", filters}, {"kernel", 3}, {"stride", stride}, {"padding", "same"}, {"bias", false}});
}

}  // namespace

TEST(LayersOther, BatchNorm) {
  const Graph graph = graph_of({3, 4, 5}, {layer("batch_norm"), layer("batch_norm", {{"epsilon", 0.25}}),
                                           layer("flatten"), layer("dense", {{"units", 2}})});
  const auto& tensors = graph.layout.tensors();
  ASSERT_EQ(tensors.size(), 10U);
  EXPECT_EQ(tensors[0].name, "batch_norm_1.weight");
  EXPECT_EQ(tensors[1].name, "batch_norm_1.bias");
  EXPECT_EQ(tensors[6].name, "batch_norm_1.running_mean");
  EXPECT_EQ(tensors[7].name, "batch_norm_1.running_var");
  EXPECT_EQ(tensors[9].name, "batch_norm_2.running_var");
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(tensors[i].role, i < 6 ? TensorRole::parameter : TensorRole::statistic);
    EXPECT_EQ(tensors[i].decays, i == 4) << tensors[i].name;
    if (i < 4 || i >= 6) {
      EXPECT_EQ(tensors[i].shape, (Shape{3}));
    }
  }
  EXPECT_EQ(graph.nodes[0].parameters, (std::vector<int>{0, 1, 6, 7}));
  EXPECT_EQ(graph.nodes[1].parameters, (std::vector<int>{2, 3, 8, 9}));
  EXPECT_EQ(graph.initialisers[0].kind, Initialiser::Kind::ones);
  EXPECT_EQ(graph.initialisers[6].kind, Initialiser::Kind::zeros);
  EXPECT_EQ(graph.initialisers[7].kind, Initialiser::Kind::ones);
  EXPECT_EQ(graph.statistics_momentum, 0.9);
  EXPECT_EQ(graph_of({4}, {layer("batch_norm", {{"momentum", 0.5}})}).statistics_momentum, 0.5);
  EXPECT_EQ(ops::float_attribute(graph.nodes[0].attributes, "epsilon", 0), 1e-5);
  EXPECT_EQ(ops::float_attribute(graph.nodes[1].attributes, "epsilon", 0), 0.25);
}

TEST(LayersOther, BatchNormRefuses) {
  expect_deck_error(network({4}, {layer("batch_norm", {{"momentum", 1}})}), "deck.toml:1:100",
                    {"momentum = 1 is not a number from 0 to below 1"});
  expect_deck_error(network({4}, {layer("batch_norm", {{"epsilon", 0}})}), "deck.toml:1:100",
                    {"epsilon = 0 is not a number above 0"});
  expect_deck_error(network({4}, {layer("batch_norm"), layer("batch_norm", {{"momentum", 0.5}})}),
                    "deck.toml:2:100",
                    {"layer \"batch_norm_2\"", "share one momentum", "0.5 stands here and 0.9 before"});
}

TEST(LayersOther, RmsNormHasAWeightAlone) {
  const Graph graph = graph_of({3, 4, 5}, {layer("rms_norm", {{"epsilon", 0.5}}), layer("flatten")});
  ASSERT_EQ(graph.layout.tensors().size(), 1U);
  EXPECT_EQ(graph.layout.tensors()[0].name, "rms_norm_1.weight");
  EXPECT_EQ(graph.layout.tensors()[0].shape, (Shape{3, 4, 5}));
  EXPECT_EQ(graph.nodes[0].type, "RMSNormalization");
  EXPECT_EQ(ops::float_attribute(graph.nodes[0].attributes, "epsilon", 0), 0.5);
}

TEST(LayersOther, LayerNorm) {
  const Graph graph =
      graph_of({3, 4, 5}, {layer("layer_norm"), layer("flatten"), layer("layer_norm", {{"epsilon", 0.5}})});
  EXPECT_EQ(graph.layout.tensors()[0].name, "layer_norm_1.weight");
  EXPECT_EQ(graph.layout.tensors()[0].shape, (Shape{3, 4, 5}));
  EXPECT_EQ(graph.layout.tensors()[3].shape, (Shape{60}));
  EXPECT_EQ(graph.initialisers[0].kind, Initialiser::Kind::ones);
  EXPECT_EQ(graph.initialisers[1].kind, Initialiser::Kind::zeros);
  EXPECT_FALSE(graph.layout.tensors()[0].decays);
  EXPECT_EQ(ops::float_attribute(graph.nodes[0].attributes, "epsilon", 0), 1e-5);
  EXPECT_EQ(ops::float_attribute(graph.nodes[2].attributes, "epsilon", 0), 0.5);
  expect_deck_error(network({4}, {layer("layer_norm", {{"epsilon", -1}})}), "deck.toml:1:100",
                    {"epsilon = -1 is not a number above 0"});
}

TEST(LayersOther, Dropout) {
  const Graph graph = graph_of({4}, {layer("dropout", {{"rate", 0.25}}), layer("dropout")});
  EXPECT_EQ(ops::float_attribute(graph.nodes[0].attributes, "ratio", 0), 0.25);
  EXPECT_EQ(ops::float_attribute(graph.nodes[1].attributes, "ratio", 0), 0.5);
  expect_deck_error(network({4}, {layer("dropout", {{"rate", 1}})}), "deck.toml:1:100",
                    {"layer \"dropout_1\"", "rate = 1 is not a number from 0 to below 1"});
}

TEST(LayersOther, FlattenAndReshape) {
  const Graph graph = graph_of({3, 4, 5}, {layer("flatten"), layer("reshape", {{"shape", List{5, 2, -1}}}),
                                           layer("reshape", {{"shape", List{60}}})});
  EXPECT_EQ(output_of(graph, "flatten_1"), (Shape{60}));
  EXPECT_EQ(output_of(graph, "reshape_1"), (Shape{5, 2, 6}));
  EXPECT_EQ(output_of(graph, "reshape_2"), (Shape{60}));
}

TEST(LayersOther, ReshapeRefuses) {
  const auto refuse = [](const Options& options, const std::string& where,
                         const std::vector<std::string>& pieces) {
    expect_deck_error(network({60}, {layer("reshape", options), layer("flatten")}), where, pieces);
  };
  refuse({}, "deck.toml:1:5", {"needs the option \"shape\""});
  refuse({{"shape", List{7, 9}}}, "deck.toml:1:100",
         {"layer \"reshape_1\"", "cannot reshape [60] (60 values", "[7, 9]"});
  refuse({{"shape", List{7, -1}}}, "deck.toml:1:100", {"cannot reshape [60]", "to [7, -1]"});
  refuse({{"shape", List{-1, -1}}}, "deck.toml:1:100", {"shape = [-1, -1] is not a shape"});
  refuse({{"shape", List{60, 0}}}, "deck.toml:1:100", {"shape = [60, 0] is not a shape"});
  refuse({{"shape", List{-2, 30}}}, "deck.toml:1:100", {"is not a shape"});
  refuse({{"shape", List{int64_t{1} << 40, int64_t{1} << 40, -1}}}, "deck.toml:1:100",
         {"cannot reshape [60]"});
}

TEST(LayersOther, ResidualWithIdentity) {
  const Graph graph =
      graph_of({3, 4, 4},
               {residual({strided(3), layer("batch_norm")}, {}, {{"activation", "relu"}}), layer("flatten")});
  const Node& sum = node_named(graph, "residual_1.add");
  EXPECT_EQ(sum.type, "Add");
  EXPECT_EQ(sum.inputs, (std::vector<int>{node_named(graph, "residual_1.batch_norm_1").output, 0}));
  EXPECT_EQ(node_named(graph, "residual_1.relu").inputs, (std::vector<int>{sum.output}));
  EXPECT_EQ(graph.layout.tensors()[0].name, "residual_1.conv2d_1.weight");
}

TEST(LayersOther, ResidualWithProjection) {
  const Graph graph =
      graph_of({3, 4, 4}, {residual({strided(5, 2), strided(5)}, {strided(5, 2)}), layer("flatten")});
  const Node& sum = node_named(graph, "residual_1.add");
  EXPECT_EQ(sum.inputs, (std::vector<int>{node_named(graph, "residual_1.conv2d_2").output,
                                          node_named(graph, "residual_1.projection.conv2d_1").output}));
  EXPECT_EQ(output_of(graph, "residual_1.add"), (Shape{5, 2, 2}));
}

TEST(LayersOther, ResidualRefuses) {
  expect_deck_error(network({3, 4, 4}, {residual({strided(5, 2)}), layer("flatten")}), "deck.toml:1:5",
                    {"layer \"residual_1\"", "its layers give [5, 2, 2]", "its shortcut gives [3, 4, 4]",
                     "Add a projection"});
  expect_deck_error(network({3, 4, 4}, {residual({strided(5, 2)}, {strided(5)}), layer("flatten")}),
                    "deck.toml:1:5",
                    {"[5, 2, 2]", "[5, 4, 4]", "Let layers and projection end in one shape"});
  expect_deck_error(network({4}, {layer("residual")}), "deck.toml:1:5", {"needs a list layers = [...]"});
  expect_deck_error(network({4}, {residual({})}), "deck.toml:1:5", {"at least one layer"});
  expect_deck_error(network({4}, {residual({layer("dense", {{"units", 0}})})}), "deck.toml:1:100",
                    {"layer \"residual_1.dense_1\"", "units = 0"});
}

}  // namespace lepton::model
