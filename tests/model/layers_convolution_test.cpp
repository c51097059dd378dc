// SPDX-License-Identifier: Apache-2.0
// Convolutions and their transposes: shapes, parameters and every option (each test fails if its option is
// ignored), sequences and volumes, and refusals.
#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

namespace {

using Kind = Initialiser::Kind;

List ints(const Graph& graph, const std::string& name) {
  return ops::ints_attribute(first_node(graph).attributes, name, {});
}

Graph conv2d_graph(const Options& more, const Shape& input = {4, 9, 11}) {
  Options options = {{"filters", 6}, {"kernel", List{3, 5}}};
  options.insert(options.end(), more.begin(), more.end());
  return graph_of(input, {layer("conv2d", options), layer("flatten")});
}

Graph transposed(const Options& more, const Shape& input = {4, 5, 6}) {
  Options options = {{"filters", 6}, {"kernel", List{3, 2}}};
  options.insert(options.end(), more.begin(), more.end());
  return graph_of(input, {layer("conv2d_transpose", options), layer("flatten")});
}

}  // namespace

TEST(LayersConvolution, Conv2d) {
  const Graph graph = conv2d_graph({});
  EXPECT_EQ(first_node(graph).type, "Conv");
  EXPECT_EQ(output_of(graph, "conv2d_1"), (Shape{6, 7, 7}));  // padding "valid" by default
  EXPECT_EQ(arena_tensor(graph, "conv2d_1.weight").shape, (Shape{6, 4, 3, 5}));
  EXPECT_TRUE(arena_tensor(graph, "conv2d_1.weight").decays);
  EXPECT_EQ(arena_tensor(graph, "conv2d_1.bias").shape, (Shape{6}));
  EXPECT_EQ(ints(graph, "kernel_shape"), (List{3, 5}));
  EXPECT_EQ(ints(graph, "strides"), (List{1, 1}));
  EXPECT_EQ(ints(graph, "pads"), (List{0, 0, 0, 0}));
  EXPECT_EQ(ints(graph, "dilations"), (List{1, 1}));
}

TEST(LayersConvolution, Conv2dOptions) {
  EXPECT_EQ(output_of(conv2d_graph({{"stride", List{2, 3}}}), "conv2d_1"), (Shape{6, 4, 3}));
  EXPECT_EQ(output_of(conv2d_graph({{"dilation", List{2, 1}}}), "conv2d_1"), (Shape{6, 5, 7}));
  EXPECT_EQ(output_of(conv2d_graph({{"padding", List{1, 2}}}), "conv2d_1"), (Shape{6, 9, 11}));
  EXPECT_EQ(output_of(conv2d_graph({{"padding", 1}}), "conv2d_1"), (Shape{6, 9, 9}));
  EXPECT_EQ(output_of(conv2d_graph({{"padding", "same"}}), "conv2d_1"), (Shape{6, 9, 11}));
  EXPECT_EQ(output_of(conv2d_graph({{"padding", "same"}, {"stride", 2}}), "conv2d_1"), (Shape{6, 5, 6}));
  EXPECT_EQ(output_of(conv2d_graph({{"padding", "valid"}}), "conv2d_1"), (Shape{6, 7, 7}));
  EXPECT_EQ(arena_tensor(conv2d_graph({{"groups", 2}}), "conv2d_1.weight").shape, (Shape{6, 2, 3, 5}));
  EXPECT_EQ(ops::int_attribute(first_node(conv2d_graph({{"groups", 2}})).attributes, "group", 0), 2);
  EXPECT_EQ(conv2d_graph({{"bias", false}}).layout.tensors().size(), 1U);
  EXPECT_EQ(conv2d_graph({{"activation", "relu"}}).nodes[1].name, "conv2d_1.relu");
  EXPECT_EQ(arena_tensor(conv2d_graph({{"l2", 0.5}}), "conv2d_1.weight").l2, 0.5);
  EXPECT_EQ(conv2d_graph({{"init", "zeros"}}).initialisers[0].kind, Kind::zeros);
}

TEST(LayersConvolution, SamePaddingPutsTheOddRowLast) {
  const Graph graph = conv2d_graph({{"padding", "same"}, {"stride", List{2, 2}}}, {4, 10, 12});
  EXPECT_EQ(ints(graph, "pads"), (List{0, 1, 1, 2}));
  EXPECT_EQ(output_of(graph, "conv2d_1"), (Shape{6, 5, 6}));
}

TEST(LayersConvolution, ConvolutionFans) {
  const Initialiser init = conv2d_graph({{"groups", 2}}).initialisers.front();
  EXPECT_EQ(init.fan_in, 2 * 15);
  EXPECT_EQ(init.fan_out, 3 * 15);
}

TEST(LayersConvolution, Conv2dRefuses) {
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

TEST(LayersConvolution, OverSequences) {
  const Graph graph = graph_of(
      {20, 5}, {layer("conv1d", {{"filters", 7}, {"kernel", 4}, {"stride", 2}, {"activation", "relu"}}),
                layer("max_pool1d"), layer("global_max_pool1d")});
  EXPECT_EQ(output_of(graph, "conv1d_1"), (Shape{7, 9}));  // ONNX has channels first
  EXPECT_EQ(output_of(graph, "conv1d_1.sequence"), (Shape{9, 7}));
  EXPECT_EQ(arena_tensor(graph, "conv1d_1.weight").shape, (Shape{7, 5, 4}));
  EXPECT_EQ(output_of(graph, "max_pool1d_1.sequence"), (Shape{4, 7}));
  EXPECT_EQ(graph.values.back().shape, (Shape{7}));
  for (const Node& node : graph.nodes) EXPECT_NE(node.type, "Identity") << "nothing needs to move";
  EXPECT_EQ(output_of(graph_of({20, 5}, {layer("batch_norm"), layer("flatten")}), "batch_norm_1.sequence"),
            (Shape{20, 5}));
  expect_deck_error(network({4, 5, 6}, {layer("conv1d", {{"filters", 7}, {"kernel", 4}})}), "deck.toml:1:5",
                    {"a sequence [length, features]", "[4, 5, 6]"});
  expect_deck_error(network({20, 5}, {layer("conv1d", {{"filters", 7}, {"kernel", List{4, 1}}})}),
                    "deck.toml:1:101", {"kernel = [4, 1] is not an integer from 1 up"});
}

TEST(LayersConvolution, OverVolumes) {
  const Graph graph = graph_of(
      {2, 8, 9, 10}, {layer("conv3d", {{"filters", 4}, {"kernel", List{3, 2, 1}}, {"padding", "same"}}),
                      layer("batch_norm"), layer("max_pool3d"), layer("global_avg_pool3d")});
  EXPECT_EQ(output_of(graph, "conv3d_1"), (Shape{4, 8, 9, 10}));
  EXPECT_EQ(arena_tensor(graph, "conv3d_1.weight").shape, (Shape{4, 2, 3, 2, 1}));
  EXPECT_EQ(output_of(graph, "max_pool3d_1"), (Shape{4, 4, 4, 5}));
  EXPECT_EQ(graph.values.back().shape, (Shape{4}));
}

TEST(LayersConvolution, Transposed) {
  const Graph graph = transposed({});
  EXPECT_EQ(first_node(graph).type, "ConvTranspose");
  EXPECT_EQ(output_of(graph, "conv2d_transpose_1"), (Shape{6, 7, 7}));
  EXPECT_EQ(arena_tensor(graph, "conv2d_transpose_1.weight").shape, (Shape{4, 6, 3, 2}));
  EXPECT_EQ(arena_tensor(graph, "conv2d_transpose_1.bias").shape, (Shape{6}));
  const auto shape = [](const Options& more) { return output_of(transposed(more), "conv2d_transpose_1"); };
  EXPECT_EQ(shape({{"stride", 2}}), (Shape{6, 11, 12}));
  EXPECT_EQ(shape({{"stride", 2}, {"padding", "same"}}), (Shape{6, 10, 12}));
  EXPECT_EQ(shape({{"stride", 2}, {"padding", 1}}), (Shape{6, 9, 10}));
  EXPECT_EQ(shape({{"stride", 2}, {"output_padding", List{1, 0}}}), (Shape{6, 12, 12}));
  EXPECT_EQ(shape({{"dilation", 2}}), (Shape{6, 9, 8}));
  EXPECT_EQ(arena_tensor(transposed({{"groups", 2}}), "conv2d_transpose_1.weight").shape,
            (Shape{4, 3, 3, 2}));
  EXPECT_EQ(transposed({{"bias", false}}).layout.tensors().size(), 1U);
  expect_deck_error(
      network({4, 5, 6}, {layer("conv2d_transpose", {{"filters", 6}, {"kernel", 3}, {"output_padding", 1}})}),
      "deck.toml:1:102", {"output_padding = [1, 1] is not less than the stride"});
  EXPECT_EQ(graph_of({20, 5}, {layer("conv1d_transpose", {{"filters", 7}, {"kernel", 4}, {"stride", 2}}),
                               layer("flatten")})
                .values.back()
                .shape,
            (Shape{42 * 7}));
}

}  // namespace lepton::model
