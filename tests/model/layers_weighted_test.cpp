// SPDX-License-Identifier: Apache-2.0
// dense and conv2d: shapes, parameters and every option (each test fails if its option is ignored), and
// refusals.
#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

namespace {

using Kind = Initialiser::Kind;

const Node& first(const Graph& graph) {
  return graph.nodes.front();
}

List ints(const Graph& graph, const std::string& name) {
  return ops::ints_attribute(first(graph).attributes, name, {});
}

const ArenaTensor& tensor(const Graph& graph, const std::string& name) {
  return graph.layout.tensors()[static_cast<size_t>(tensor_named(graph, name))];
}

Graph conv(const Options& more, const Shape& input = {4, 9, 11}) {
  Options options = {{"filters", 6}, {"kernel", List{3, 5}}};
  options.insert(options.end(), more.begin(), more.end());
  return graph_of(input, {layer("conv2d", options), layer("flatten")});
}

Initialiser weight_init(const std::vector<LayerSpec>& layers, const Shape& input = {6}) {
  return graph_of(input, layers).initialisers.front();
}

}  // namespace

TEST(LayersWeighted, Dense) {
  const Graph graph = graph_of({6}, {layer("dense", {{"units", 4}})});
  EXPECT_EQ(first(graph).type, "Gemm");
  EXPECT_EQ(ops::int_attribute(first(graph).attributes, "transB", 0), 1);
  EXPECT_EQ(output_of(graph, "dense_1"), (Shape{4}));
  EXPECT_EQ(tensor(graph, "dense_1.weight").shape, (Shape{4, 6}));
  EXPECT_TRUE(tensor(graph, "dense_1.weight").decays);
  EXPECT_EQ(tensor(graph, "dense_1.bias").shape, (Shape{4}));
  EXPECT_FALSE(tensor(graph, "dense_1.bias").decays);
  EXPECT_EQ(graph.layout.parameter_count(), 28);
}

TEST(LayersWeighted, DenseWithoutBias) {
  const Graph graph = graph_of({6}, {layer("dense", {{"units", 4}, {"bias", false}})});
  EXPECT_EQ(graph.layout.parameter_count(), 24);
  EXPECT_EQ(first(graph).parameters.size(), 1U);
}

TEST(LayersWeighted, L2) {
  ModelSpec spec =
      network({6}, {layer("dense", {{"units", 4}}), layer("dense", {{"units", 2}, {"l2", 0.5}})});
  spec.l2 = 0.25;
  const Graph graph = build_graph(spec);
  EXPECT_EQ(tensor(graph, "dense_1.weight").l2, 0.25);
  EXPECT_EQ(tensor(graph, "dense_2.weight").l2, 0.5);
  EXPECT_EQ(tensor(graph, "dense_1.bias").l2, 0.0);
  expect_deck_error(network({6}, {layer("dense", {{"units", 4}, {"l2", -1}})}), "deck.toml:1:101",
                    {"l2 = -1 is not a number from 0 up"});
}

TEST(LayersWeighted, Conv2d) {
  const Graph graph = conv({});
  EXPECT_EQ(first(graph).type, "Conv");
  EXPECT_EQ(output_of(graph, "conv2d_1"), (Shape{6, 7, 7}));  // padding "valid" by default
  EXPECT_EQ(tensor(graph, "conv2d_1.weight").shape, (Shape{6, 4, 3, 5}));
  EXPECT_TRUE(tensor(graph, "conv2d_1.weight").decays);
  EXPECT_EQ(tensor(graph, "conv2d_1.bias").shape, (Shape{6}));
  EXPECT_EQ(ints(graph, "kernel_shape"), (List{3, 5}));
  EXPECT_EQ(ints(graph, "strides"), (List{1, 1}));
  EXPECT_EQ(ints(graph, "pads"), (List{0, 0, 0, 0}));
  EXPECT_EQ(ints(graph, "dilations"), (List{1, 1}));
}

TEST(LayersWeighted, Conv2dOptions) {
  EXPECT_EQ(output_of(conv({{"stride", List{2, 3}}}), "conv2d_1"), (Shape{6, 4, 3}));
  EXPECT_EQ(output_of(conv({{"dilation", List{2, 1}}}), "conv2d_1"), (Shape{6, 5, 7}));
  EXPECT_EQ(output_of(conv({{"padding", List{1, 2}}}), "conv2d_1"), (Shape{6, 9, 11}));
  EXPECT_EQ(output_of(conv({{"padding", 1}}), "conv2d_1"), (Shape{6, 9, 9}));
  EXPECT_EQ(output_of(conv({{"padding", "same"}}), "conv2d_1"), (Shape{6, 9, 11}));
  EXPECT_EQ(output_of(conv({{"padding", "same"}, {"stride", 2}}), "conv2d_1"), (Shape{6, 5, 6}));
  EXPECT_EQ(output_of(conv({{"padding", "valid"}}), "conv2d_1"), (Shape{6, 7, 7}));
  EXPECT_EQ(tensor(conv({{"groups", 2}}), "conv2d_1.weight").shape, (Shape{6, 2, 3, 5}));
  EXPECT_EQ(ops::int_attribute(first(conv({{"groups", 2}})).attributes, "group", 0), 2);
  EXPECT_EQ(conv({{"bias", false}}).layout.tensors().size(), 1U);
  EXPECT_EQ(conv({{"activation", "relu"}}).nodes[1].name, "conv2d_1.relu");
  EXPECT_EQ(tensor(conv({{"l2", 0.5}}), "conv2d_1.weight").l2, 0.5);
  EXPECT_EQ(conv({{"init", "zeros"}}).initialisers[0].kind, Kind::zeros);
}

TEST(LayersWeighted, SamePaddingPutsTheOddRowLast) {
  const Graph graph = conv({{"padding", "same"}, {"stride", List{2, 2}}}, {4, 10, 12});
  EXPECT_EQ(ints(graph, "pads"), (List{0, 1, 1, 2}));
  EXPECT_EQ(output_of(graph, "conv2d_1"), (Shape{6, 5, 6}));
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

TEST(LayersWeighted, ConvolutionFans) {
  const Initialiser init = conv({{"groups", 2}}).initialisers.front();
  EXPECT_EQ(init.fan_in, 2 * 15);
  EXPECT_EQ(init.fan_out, 3 * 15);
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

TEST(LayersWeighted, Conv2dRefuses) {
  const auto refuse = [](const Options& options, const std::string& where,
                         const std::vector<std::string>& pieces, const Shape& input = {4, 9, 11}) {
    expect_deck_error(network(input, {layer("conv2d", options), layer("flatten")}), where, pieces);
  };
  refuse({{"kernel", 3}}, "deck.toml:1:5", {"needs the option \"filters\""});
  refuse({{"filters", 3}}, "deck.toml:1:5", {"needs the option \"kernel\""});
  refuse({{"filters", 3}, {"kernel", 3}}, "deck.toml:1:5", {"[channels, height, width]", "[99]", "reshape"},
         {99});
  refuse({{"filters", 6}, {"kernel", 3}, {"groups", 3}}, "deck.toml:1:102",
         {"groups = 3 does not divide the input's 4 channels"});
  refuse({{"filters", 6}, {"kernel", 3}, {"groups", 4}}, "deck.toml:1:102",
         {"groups = 4 does not divide the 6 filters"});
  refuse({{"filters", 6}, {"kernel", 10}}, "deck.toml:1:5",
         {"layer \"conv2d_1\"", "its window [10, 10] is larger than its input [4, 9, 11]", "[0, 0, 0, 0]"});
  refuse({{"filters", 6}, {"kernel", 3}, {"dilation", 5}}, "deck.toml:1:5",
         {"its window [11, 11] is larger"});
  refuse({{"filters", 6}, {"kernel", 3}, {"padding", "full"}}, "deck.toml:1:102",
         {"padding = \"full\" is not one of \"valid\", \"same\""});
  refuse({{"filters", 6}, {"kernel", 3}, {"padding", -1}}, "deck.toml:1:102",
         {"padding = -1 is not an integer from 0"});
  refuse({{"filters", 6}, {"kernel", 3}, {"stride", 0}}, "deck.toml:1:102",
         {"stride = 0 is not an integer from 1"});
  refuse({{"filters", 6}, {"kernel", 3}, {"dilation", 0}}, "deck.toml:1:102", {"dilation = 0 is not"});
}

}  // namespace lepton::model
