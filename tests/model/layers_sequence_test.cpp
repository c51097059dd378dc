// SPDX-License-Identifier: Apache-2.0
// Layers of sequences: nodes, shapes, parameters, every option, and refusals.
#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

namespace {

LayerSpec embedding(int64_t rows, int64_t width) {
  return layer("embedding", {{"rows", rows}, {"width", width}});
}

Graph block_of(const Options& options, int64_t width = 12) {
  Options all = {{"heads", 4}};
  all.insert(all.end(), options.begin(), options.end());
  return graph_of({6}, {embedding(9, width), layer("transformer_block", all)});
}

int64_t attribute(const Node& node, const char* name) {
  return ops::int_attribute(node.attributes, name, -1);
}

}  // namespace

TEST(LayersSequence, Embedding) {
  const Graph graph =
      graph_of({6}, {layer("embedding", {{"rows", 9}, {"width", 4}, {"init_deviation", 0.5}})});
  EXPECT_EQ(graph.nodes[0].type, "Gather");
  EXPECT_EQ(output_of(graph, "embedding_1"), (Shape{6, 4}));
  EXPECT_EQ(graph.layout.tensors()[0].name, "embedding_1.weight");
  EXPECT_EQ(graph.layout.tensors()[0].shape, (Shape{9, 4}));
  EXPECT_TRUE(graph.layout.tensors()[0].decays);
  EXPECT_EQ(graph.initialisers[0].kind, Initialiser::Kind::normal);
  EXPECT_EQ(graph.initialisers[0].deviation, 0.5);
  EXPECT_EQ(graph_of({6}, {embedding(9, 4)}).initialisers[0].deviation, 0.02);
  EXPECT_EQ(input_rows(graph), 9);
  EXPECT_EQ(input_rows(graph_of({6}, {layer("dense", {{"units", 2}})})), 0);
}

TEST(LayersSequence, EmbeddingRefuses) {
  expect_deck_error(network({3, 4, 5}, {embedding(9, 4)}), "deck.toml:1:5", {"row numbers [T]", "[3, 4, 5]"});
  expect_deck_error(network({6}, {embedding(int64_t{1} << 22, int64_t{1} << 22)}), "deck.toml:1:5",
                    {"too large for any machine"});
  expect_deck_error(network({6}, {layer("embedding", {{"rows", 9}})}), "deck.toml:1:5", {"width"});
}

TEST(LayersSequence, PositionalEmbedding) {
  const Graph graph =
      graph_of({6}, {embedding(9, 4), layer("positional_embedding", {{"init_deviation", 0.25}})});
  EXPECT_EQ(graph.nodes[1].type, "Add");
  EXPECT_EQ(output_of(graph, "positional_embedding_1"), (Shape{6, 4}));
  EXPECT_EQ(graph.layout.tensors()[1].shape, (Shape{6, 4}));
  EXPECT_EQ(graph.initialisers[1].deviation, 0.25);
  expect_deck_error(network({6}, {layer("positional_embedding")}), "deck.toml:1:5",
                    {"takes a sequence [length, features]", "[6]"});
}

TEST(LayersSequence, Attention) {
  const Graph graph = graph_of({6}, {embedding(9, 12), layer("attention", {{"heads", 4},
                                                                           {"key_heads", 2},
                                                                           {"causal", true},
                                                                           {"bias", false},
                                                                           {"init", "normal"},
                                                                           {"init_deviation", 0.5},
                                                                           {"l2", 0.125}})});
  const Node& node = node_named(graph, "attention_1");
  EXPECT_EQ(node.type, "Attention");
  EXPECT_EQ(attribute(node, "q_num_heads"), 4);
  EXPECT_EQ(attribute(node, "kv_num_heads"), 2);
  EXPECT_EQ(attribute(node, "is_causal"), 1);
  EXPECT_EQ(output_of(graph, "attention_1.qkv"), (Shape{6, (4 + 2 * 2) * 3}));
  EXPECT_EQ(output_of(graph, "attention_1.out"), (Shape{6, 12}));
  const auto& tensors = graph.layout.tensors();
  ASSERT_EQ(tensors.size(), 3U);
  EXPECT_EQ(tensors[1].name, "attention_1.qkv.weight");
  EXPECT_EQ(tensors[1].l2, 0.125);
  EXPECT_EQ(graph.initialisers[1].deviation, 0.5);
  const Graph plain = graph_of({6}, {embedding(9, 12), layer("attention", {{"heads", 4}})});
  EXPECT_EQ(plain.layout.tensors().size(), 5U) << "with biases";
  EXPECT_EQ(attribute(node_named(plain, "attention_1"), "kv_num_heads"), 4);
  EXPECT_EQ(attribute(node_named(plain, "attention_1"), "is_causal"), 0);
}

TEST(LayersSequence, AttentionRefuses) {
  const auto attention = [](const Options& options) {
    return network({6}, {embedding(9, 12), layer("attention", options)});
  };
  expect_deck_error(attention({{"heads", 5}}), "deck.toml:2:100", {"heads = 5", "width 12"});
  expect_deck_error(attention({{"heads", 4}, {"key_heads", 3}}), "deck.toml:2:101",
                    {"key_heads = 3 does not divide the 4 heads"});
  expect_deck_error(network({12}, {layer("attention", {{"heads", 4}})}), "deck.toml:1:5",
                    {"[12]", "embedding"});
}

TEST(LayersSequence, TransformerBlock) {
  const Graph graph = block_of({});
  std::vector<std::string> types;
  for (const Node& node : graph.nodes) types.push_back(node.type);
  EXPECT_EQ(types, (std::vector<std::string>{"Gather", "LayerNormalization", "Gemm", "Attention", "Gemm",
                                             "Add", "LayerNormalization", "Gemm", "Gelu", "Gemm", "Add"}));
  EXPECT_EQ(output_of(graph, "transformer_block_1.dense_1"), (Shape{6, 48}));
  EXPECT_EQ(graph.values.back().shape, (Shape{6, 12}));
  const auto& tensors = graph.layout.tensors();
  EXPECT_EQ(tensors[1].name, "transformer_block_1.norm_1.weight");
  EXPECT_EQ(tensors[1].shape, (Shape{12})) << "of each row";
  EXPECT_EQ(attribute(node_named(graph, "transformer_block_1.attention"), "is_causal"), 0);
}

TEST(LayersSequence, TransformerBlockTakesEveryOption) {
  const Graph graph = block_of({{"key_heads", 1},
                                {"causal", true},
                                {"units", 20},
                                {"activation", "silu"},
                                {"norm", "rms_norm"},
                                {"dropout", 0.25},
                                {"bias", false},
                                {"init_deviation", 0.5},
                                {"residual_deviation", 0.125},
                                {"l2", 0.375}});
  const Node& node = node_named(graph, "transformer_block_1.attention");
  EXPECT_EQ(attribute(node, "kv_num_heads"), 1);
  EXPECT_EQ(attribute(node, "is_causal"), 1);
  EXPECT_EQ(output_of(graph, "transformer_block_1.dense_1"), (Shape{6, 20}));
  EXPECT_EQ(node_named(graph, "transformer_block_1.dense_1.silu").type, "Swish");
  EXPECT_EQ(node_named(graph, "transformer_block_1.norm_2").type, "RMSNormalization");
  for (const char* name : {"transformer_block_1.dropout", "transformer_block_1.attention.dropout"})
    EXPECT_EQ(ops::float_attribute(node_named(graph, name).attributes, "ratio", 0), 0.25);
  const auto at = [&](const std::string& name) {
    return static_cast<size_t>(tensor_named(graph, "transformer_block_1." + name + ".weight"));
  };
  for (const char* inner : {"attention.qkv", "dense_1"}) {
    EXPECT_EQ(graph.initialisers[at(inner)].deviation, 0.5) << inner;
    EXPECT_EQ(graph.layout.tensors()[at(inner)].l2, 0.375);
  }
  for (const char* added : {"attention.out", "dense_2"})
    EXPECT_EQ(graph.initialisers[at(added)].deviation, 0.125) << added;
  EXPECT_EQ(graph.layout.tensors().size(), 1U + 2 + 4) << "no biases";
  const Graph same = block_of({{"init_deviation", 0.5}});
  const int outer = tensor_named(same, "transformer_block_1.dense_2.weight");
  EXPECT_EQ(same.initialisers[static_cast<size_t>(outer)].deviation, 0.5) << "as the others";
}

TEST(LayersSequence, TransformerBlockRefuses) {
  const auto block = [](const Options& options) {
    return network({6}, {embedding(9, 12), layer("transformer_block", options)});
  };
  expect_deck_error(block({{"heads", 4}, {"norm", "batch_norm"}}), "deck.toml:2:101",
                    {"batch_norm", "rms_norm"});
  expect_deck_error(block({{"heads", 4}, {"dropout", 1}}), "deck.toml:2:101", {"dropout = 1"});
  expect_deck_error(network({12}, {layer("transformer_block", {{"heads", 4}})}), "deck.toml:1:5",
                    {"takes a sequence [length, features]"});
}

TEST(LayersSequence, ScoresForEachPosition) {
  ModelSpec spec = network({6}, {embedding(9, 4), layer("dense", {{"units", 9}})});
  spec.positions = 6;
  spec.outputs = 9;
  EXPECT_EQ(build_graph(spec).values.back().shape, (Shape{6, 9}));
  spec.outputs = 10;
  expect_deck_error(spec, "deck.toml:2:5", {"gives [6, 9]", "6 class ids per sample of 10 classes"});
  spec.positions = 5;
  spec.outputs = 0;
  expect_deck_error(spec, "deck.toml:2:5", {"gives [6, 9]", "5 class ids per sample"});
  ModelSpec image =
      network({3, 4, 5}, {layer("conv2d", {{"filters", 7}, {"kernel", 3}, {"padding", "same"}})});
  image.positions = 20;
  image.outputs = 7;
  EXPECT_EQ(build_graph(image).values.back().shape, (Shape{7, 4, 5}));
}

}  // namespace lepton::model
