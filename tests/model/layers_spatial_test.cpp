// SPDX-License-Identifier: Apache-2.0
// Norms of channels, upsampling, zero padding and permuting as layers: shapes, every option, gradients,
// refusals.
#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

TEST(LayersSpatial, GroupNorm) {
  const Graph graph = graph_of({4, 3, 5}, {layer("group_norm", {{"groups", 2}, {"epsilon", 0.5}})});
  ASSERT_EQ(graph.layout.tensors().size(), 2U);
  EXPECT_EQ(graph.layout.tensors()[0].name, "group_norm_1.weight");
  EXPECT_EQ(graph.layout.tensors()[1].name, "group_norm_1.bias");
  EXPECT_EQ(graph.layout.tensors()[0].shape, (Shape{4}));
  EXPECT_FALSE(graph.layout.tensors()[0].decays);
  EXPECT_EQ(graph.initialisers[0].kind, Initialiser::Kind::ones);
  EXPECT_EQ(graph.nodes[0].type, "GroupNormalization");
  EXPECT_EQ(ops::int_attribute(graph.nodes[0].attributes, "num_groups", 0), 2);
  EXPECT_EQ(ops::float_attribute(graph.nodes[0].attributes, "epsilon", 0), 0.5);
  EXPECT_EQ(ops::int_attribute(graph_of({64}, {layer("group_norm")}).nodes[0].attributes, "num_groups", 0),
            32);
  const Graph sequence = graph_of({7, 4}, {layer("group_norm", {{"groups", 4}})});
  EXPECT_EQ(node_named(sequence, "group_norm_1").type, "GroupNormalization");
  EXPECT_EQ(sequence.values[sequence.nodes.back().output].shape, (Shape{7, 4}));
  expect_deck_error(network({6, 2, 2}, {layer("group_norm", {{"groups", 4}})}), "deck.toml:1:100",
                    {"6 channels cannot be divided into 4 groups"});
}

TEST(LayersSpatial, InstanceNorm) {
  const Graph graph = graph_of({4, 3, 5}, {layer("instance_norm", {{"epsilon", 0.25}})});
  EXPECT_EQ(graph.nodes[0].type, "InstanceNormalization");
  EXPECT_EQ(ops::float_attribute(graph.nodes[0].attributes, "epsilon", 0), 0.25);
  EXPECT_EQ(graph.layout.tensors()[1].name, "instance_norm_1.bias");
  expect_deck_error(network({6}, {layer("instance_norm")}), "deck.toml:1:5", {"[6] has none"});
}

TEST(LayersSpatial, Upsample) {
  const auto shape = [](const Shape& input, const LayerSpec& spec) {
    const Graph graph = graph_of(input, {spec});
    return graph.values[graph.nodes.back().output].shape;
  };
  EXPECT_EQ(shape({3, 4, 5}, layer("upsample2d")), (Shape{3, 8, 10}));
  EXPECT_EQ(shape({3, 4, 5}, layer("upsample2d", {{"scale", List{1, 3}}})), (Shape{3, 4, 15}));
  EXPECT_EQ(shape({7, 5}, layer("upsample1d", {{"scale", 3}})), (Shape{21, 5}));
  EXPECT_EQ(shape({2, 3, 4, 5}, layer("upsample3d")), (Shape{2, 6, 8, 10}));
  const Graph graph = graph_of({3, 4, 5}, {layer("upsample2d", {{"mode", "linear"}})});
  EXPECT_EQ(ops::string_attribute(graph.nodes[0].attributes, "mode", ""), "linear");
  EXPECT_EQ(ops::string_attribute(graph.nodes[0].attributes, "coordinate_transformation_mode", ""),
            "half_pixel");
  expect_deck_error(network({3, 4}, {layer("upsample2d")}), "deck.toml:1:5", {"its input is [3, 4]"});
  expect_deck_error(network({3, 4, 5}, {layer("upsample2d", {{"mode", "cubic"}})}), "deck.toml:1:100",
                    {"cubic"});
}

TEST(LayersSpatial, ZeroPad) {
  const Graph graph = graph_of({3, 4, 5}, {layer("zero_pad2d", {{"padding", List{1, 2}}})});
  EXPECT_EQ(graph.values[graph.nodes.back().output].shape, (Shape{3, 6, 9}));
  const Graph sequence = graph_of({7, 5}, {layer("zero_pad1d", {{"padding", 2}})});
  EXPECT_EQ(sequence.values[sequence.nodes.back().output].shape, (Shape{11, 5}));
  const Graph volume = graph_of({2, 3, 4, 5}, {layer("zero_pad3d", {{"padding", 1}})});
  EXPECT_EQ(volume.values[volume.nodes.back().output].shape, (Shape{2, 5, 6, 7}));
  expect_deck_error(network({3, 4, 5}, {layer("zero_pad2d")}), "deck.toml:1:5", {"padding"});
}

TEST(LayersSpatial, Permute) {
  EXPECT_EQ(output_of(graph_of({3, 4, 5}, {layer("permute", {{"order", List{3, 1, 2}}})}), "permute_1"),
            (Shape{5, 3, 4}));
  expect_deck_error(network({3, 4}, {layer("permute", {{"order", List{0, 1}}})}), "deck.toml:1:100",
                    {"[0, 1] does not name each dimension once"});
  expect_deck_error(network({3, 4}, {layer("permute", {{"order", List{1}}})}), "deck.toml:1:100",
                    {"does not fit the input [3, 4]"});
}

TEST(LayersSpatial, LogSoftmaxIsAnActivation) {
  const Graph graph = graph_of({3, 4, 5}, {layer("log_softmax")});
  EXPECT_EQ(graph.nodes[0].type, "LogSoftmax");
  EXPECT_EQ(ops::int_attribute(graph.nodes[0].attributes, "axis", 0), 1);
  EXPECT_EQ(graph_of({4}, {layer("dense", {{"units", 3}, {"activation", "log_softmax"}})}).nodes.back().type,
            "LogSoftmax");
}

}  // namespace lepton::model
