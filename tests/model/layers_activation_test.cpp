// SPDX-License-Identifier: Apache-2.0
// Activations as layers and as options: operator, alpha, names, and refusals.
#include <gtest/gtest.h>

#include "model/initialise.h"
#include "model/layers.h"
#include "model/networks.h"

namespace lepton::model {

TEST(LayersActivation, EachLayerIsItsOnnxOperator) {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"relu", "Relu"},
      {"leaky_relu", "LeakyRelu"},
      {"elu", "Elu"},
      {"gelu", "Gelu"},
      {"sigmoid", "Sigmoid"},
      {"tanh", "Tanh"},
      {"softmax", "Softmax"},
      {"gelu_tanh", "Gelu"},
      {"selu", "Selu"},
      {"silu", "Swish"},
      {"swish", "Swish"},
      {"mish", "Mish"},
      {"softplus", "Softplus"},
      {"hard_sigmoid", "HardSigmoid"},
      {"log_softmax", "LogSoftmax"},
  };
  EXPECT_EQ(activation_names().size(), pairs.size());
  for (const auto& [name, type] : pairs) {
    const Graph as_layer = graph_of({6}, {layer(name)});
    EXPECT_EQ(as_layer.nodes.back().type, type);
    EXPECT_EQ(as_layer.nodes.back().name, name + "_1");
    EXPECT_EQ(output_of(as_layer, name + "_1"), (Shape{6}));
    const Graph as_option = graph_of({6}, {layer("dense", {{"units", 4}, {"activation", name}})});
    EXPECT_EQ(as_option.nodes.back().type, type);
    EXPECT_EQ(as_option.nodes.back().name, "dense_1." + name);
    EXPECT_EQ(activation_operator(name), type);
  }
  EXPECT_EQ(activation_operator("dense"), "");
}

TEST(LayersActivation, Alpha) {
  const auto alpha = [](const LayerSpec& spec) {
    const Graph graph = graph_of({6}, {spec});
    return ops::float_attribute(graph.nodes.front().attributes, "alpha", -1);
  };
  EXPECT_EQ(alpha(layer("leaky_relu")), 0.01);
  EXPECT_EQ(alpha(layer("leaky_relu", {{"alpha", 0.25}})), 0.25);
  EXPECT_EQ(alpha(layer("elu")), 1.0);
  EXPECT_EQ(alpha(layer("elu", {{"alpha", 2}})), 2.0);
  EXPECT_EQ(alpha(layer("swish", {{"alpha", 1.5}})), 1.5);
  EXPECT_EQ(alpha(layer("hard_sigmoid")), 0.2);
  EXPECT_EQ(alpha(layer("silu")), -1.0);
  EXPECT_EQ(alpha(layer("relu")), -1.0);
  expect_deck_error(network({6}, {layer("elu", {{"alpha", 0}})}), "deck.toml:1:100",
                    {"layer \"elu_1\"", "alpha = 0 is not a number above 0"});
  expect_deck_error(network({6}, {layer("relu", {{"alpha", 0.1}})}), "deck.toml:1:100",
                    {"unknown option \"alpha\" of a relu layer"});
}

TEST(LayersActivation, PreluLearnsASlopePerChannelOrFeature) {
  const Graph graph =
      graph_of({3, 4, 5}, {layer("prelu"), layer("flatten"), layer("prelu", {{"initial", 0.1}})});
  const std::vector<ArenaTensor>& tensors = graph.layout.tensors();
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].name, "prelu_1.slope");
  EXPECT_EQ(tensors[0].shape, (Shape{3, 1, 1}));
  EXPECT_EQ(tensors[1].shape, (Shape{60}));
  EXPECT_FALSE(tensors[0].decays);
  std::vector<float> arena(static_cast<size_t>(graph.layout.elements()), -1.0f);
  initialise(graph, 1, 0, 2, arena);
  EXPECT_EQ(arena[static_cast<size_t>(tensors[0].offset) + 2], 0.25f);
  EXPECT_EQ(arena[static_cast<size_t>(tensors[1].offset) + 59], 0.1f);
  expect_deck_error(network({6}, {layer("prelu", {{"initial", -1}})}), "deck.toml:1:100", {"initial = -1"});
}

TEST(LayersActivation, GeluIsExactOrByTanh) {
  const auto approximate = [](const LayerSpec& spec) {
    return ops::string_attribute(graph_of({6}, {spec}).nodes.back().attributes, "approximate", "none");
  };
  EXPECT_EQ(approximate(layer("gelu")), "none");
  EXPECT_EQ(approximate(layer("gelu_tanh")), "tanh");
  EXPECT_EQ(approximate(layer("dense", {{"units", 4}, {"activation", "gelu_tanh"}})), "tanh");
}

TEST(LayersActivation, NoneAppendsNothing) {
  const Graph graph = graph_of({6}, {layer("dense", {{"units", 4}, {"activation", "none"}})});
  EXPECT_EQ(graph.nodes.size(), 1U);
}

TEST(LayersActivation, UnknownNameGivesTheNearest) {
  expect_deck_error(network({6}, {layer("dense", {{"units", 4}, {"activation", "rleu"}})}), "deck.toml:1:101",
                    {"layer \"dense_1\"", "activation = \"rleu\" is not one of", "Did you mean \"relu\"?"});
  expect_deck_error(network({6}, {layer("dense", {{"units", 4}, {"activation", true}})}), "deck.toml:1:101",
                    {"activation = true is not one of"});
}

TEST(LayersActivation, ReluFamily) {
  for (const char* name :
       {"relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "swish", "mish", "softplus", "prelu"})
    EXPECT_TRUE(is_relu_like(name)) << name;
  for (const char* name : {"sigmoid", "hard_sigmoid", "tanh", "selu", "softmax", "none", ""})
    EXPECT_FALSE(is_relu_like(name)) << name;
}

}  // namespace lepton::model
