// SPDX-License-Identifier: Apache-2.0
// Pooling: shapes, every option, and refusals.
#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

namespace {

Shape pooled(const std::string& type, const Options& options, const Shape& input = {3, 8, 9}) {
  return output_of(graph_of(input, {layer(type, options), layer("flatten")}), type + "_1");
}

}  // namespace

TEST(LayersWindow, PoolShapes) {
  for (const std::string type : {"max_pool2d", "avg_pool2d"}) {
    EXPECT_EQ(pooled(type, {}), (Shape{3, 4, 4}));  // size 2, stride = size
    EXPECT_EQ(pooled(type, {{"size", 3}}), (Shape{3, 2, 3}));
    EXPECT_EQ(pooled(type, {{"size", List{2, 3}}}), (Shape{3, 4, 3}));
    EXPECT_EQ(pooled(type, {{"size", 3}, {"stride", 1}}), (Shape{3, 6, 7}));
    EXPECT_EQ(pooled(type, {{"size", 3}, {"padding", 1}}), (Shape{3, 3, 3}));
    EXPECT_EQ(pooled(type, {{"size", 2}, {"padding", "same"}}), (Shape{3, 4, 5}));
  }
}

TEST(LayersWindow, OperatorsAndAttributes) {
  const Graph graph = graph_of(
      {3, 8, 9}, {layer("max_pool2d", {{"size", List{2, 3}}, {"stride", List{1, 2}}, {"padding", 1}}),
                  layer("avg_pool2d"), layer("global_avg_pool2d")});
  EXPECT_EQ(graph.nodes[0].type, "MaxPool");
  EXPECT_EQ(graph.nodes[1].type, "AveragePool");
  EXPECT_EQ(graph.nodes[2].type, "GlobalAveragePool");
  const ops::Attributes& attributes = graph.nodes[0].attributes;
  EXPECT_EQ(ops::ints_attribute(attributes, "kernel_shape", {}), (List{2, 3}));
  EXPECT_EQ(ops::ints_attribute(attributes, "strides", {}), (List{1, 2}));
  EXPECT_EQ(ops::ints_attribute(attributes, "pads", {}), (List{1, 1, 1, 1}));
  EXPECT_EQ(graph.values.back().shape, (Shape{3}));
}

TEST(LayersWindow, Refusals) {
  for (const std::string type : {"max_pool2d", "avg_pool2d", "global_avg_pool2d"})
    expect_deck_error(network({72}, {layer(type)}), "deck.toml:1:5",
                      {"layer \"" + type + "_1\"", "[channels, height, width]", "[72]"});
  expect_deck_error(network({3, 1, 9}, {layer("max_pool2d")}), "deck.toml:1:5",
                    {"its window [2, 2] is larger than its input [3, 1, 9]"});
  expect_deck_error(network({3, 8, 9}, {layer("avg_pool2d", {{"size", 2}, {"padding", 2}})}),
                    "deck.toml:1:101",
                    {"a padding of [2, 2] leaves windows without any input", "At most [1, 1]"});
  expect_deck_error(network({3, 8, 9}, {layer("max_pool2d", {{"size", 0}})}), "deck.toml:1:100",
                    {"size = 0 is not"});
  expect_deck_error(network({3, 8, 9}, {layer("max_pool2d", {{"stride", List{1}}})}), "deck.toml:1:100",
                    {"stride = [1] is not"});
  expect_deck_error(network({3, 8, 9}, {layer("global_avg_pool2d", {{"size", 2}})}), "deck.toml:1:100",
                    {"unknown option \"size\""});
}

}  // namespace lepton::model
