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
  EXPECT_EQ(table_rows(graph).below, 9);
  EXPECT_EQ(table_rows(graph_of({6}, {layer("dense", {{"units", 2}})})).safe, 0);
}

TEST(LayersSequence, NumbersOfRowsByWayOfOthers) {
  const LayerSpec turned = layer("reshape", {{"shape", List{2, 3}}}), flat = layer("flatten");
  const Graph moved = graph_of({6}, {turned, flat, embedding(9, 4), layer("flatten"), dense(2)});
  EXPECT_EQ(table_rows(moved).safe, 9);
  EXPECT_EQ(table_rows(moved).below, 9);
  const Graph scaled = graph_of({6}, {layer("relu"), embedding(9, 4), layer("flatten"), dense(2)});
  EXPECT_EQ(table_rows(scaled).safe, 1) << "0 is a row";
  EXPECT_EQ(table_rows(scaled).below, 0) << "nothing is known of the others";
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

namespace {

/// A text and its length, and a memory [5, 8] with its own.
ModelSpec ragged(std::vector<LayerSpec> layers) {
  ModelSpec spec = network({6}, std::move(layers));
  spec.inputs = {{"text", {6}}, {"text.length", {1}}, {"memory", {5, 8}}, {"memory.length", {1}}};
  spec.positions = 0;
  return spec;
}

using Names = std::vector<std::string>;

}  // namespace

TEST(LayersSequence, LengthsEndSequences) {
  const LayerSpec words = layer("embedding", {{"rows", 9}, {"width", 12}, {"init_deviation", 1.0}});
  for (const char* type : {"attention", "transformer_block"})
    for (const char* pool : {"global_avg_pool1d", "global_max_pool1d"}) {
      SCOPED_TRACE(type);
      const std::string name = std::string(type) + "_1";
      const Graph graph = build_graph(
          ragged({words, layer(type, {{"heads", 4}, {"from", Names{"embedding_1", "text.length"}}}),
                  layer(pool, {{"from", Names{name, "text.length"}}}), layer("dense", {{"units", 2}})}));
      for (const Node& node : graph.nodes)
        if (node.type == "Attention" || node.type.starts_with("Global")) {
          ASSERT_EQ(node.inputs.size(), 2U) << node.name;
          EXPECT_EQ(node.inputs[1], 1) << node.name;
        }
      Bench bench(graph, {6}, {6});
      if (pool == std::string("global_avg_pool1d")) expect_gradients(bench, 6, 2e-3);
      const std::vector<float> scores = bench.forward(6, false);
      bench.fill_input(6, false);  // tokens behind the end, which nobody may see
      const std::span<float> text = bench.executor.input(0, 6, false),
                             length = bench.executor.input(1, 6, false);
      for (size_t i = 0; i < text.size(); ++i)
        if (static_cast<float>(i % 6) >= length[i / 6]) text[i] = 8 - text[i];
      const auto again = bench.executor.forward(6, false, bench.arena.data(), bench.ids(6), 4);
      EXPECT_EQ(scores, std::vector<float>(again.begin(), again.end()));
    }
}

TEST(LayersSequence, MasksHideTokens) {
  const LayerSpec words = layer("embedding", {{"rows", 9}, {"width", 12}, {"init_deviation", 1.0}});
  for (const char* type : {"attention", "transformer_block"}) {
    SCOPED_TRACE(type);
    const bool block = type == std::string("transformer_block");
    ModelSpec spec = network({6}, {words, layer(type, {{"heads", 4}, {"from", Names{"embedding_1", "mask"}}}),
                                   layer("flatten"), layer("dense", {{"units", 2}})});
    spec.inputs = {{"text", {6}}, {"mask", {6}}};
    const Graph graph = build_graph(spec);
    EXPECT_EQ(node_named(graph, block ? "transformer_block_1.attention" : "attention_1").inputs[1], 1);
    EXPECT_TRUE(is_mask(graph, 1));
    EXPECT_FALSE(is_mask(graph, 0));
    Bench bench(graph, {4}, {4});
    expect_gradients(bench, 4, 2e-3);
  }
  ModelSpec both =
      network({6}, {embedding(9, 12),
                    layer("attention", {{"heads", 2}, {"from", Names{"embedding_1", "memory", "mask"}}}),
                    layer("flatten")});
  both.inputs = {{"text", {6}}, {"memory", {5, 8}}, {"mask", {5}}};
  EXPECT_TRUE(is_mask(build_graph(both), 2));
  both.inputs.back().shape = {6};
  expect_deck_error(both, "deck.toml:2:101", {"a length for each sample, [1], or a mask, [5], not [6]"});
}

TEST(LayersSequence, AttentionToAnotherSequence) {
  const LayerSpec words = embedding(9, 12);
  const Options options = {{"heads", 4}, {"key_heads", 2}, {"init", "normal"}, {"init_deviation", 0.4}};
  for (const bool lengths : {false, true}) {
    Options all = options;
    Names from = {"embedding_1", "memory"};
    if (lengths) from.emplace_back("memory.length");
    all.emplace_back("from", from);
    const Graph graph = build_graph(ragged({words, layer("attention", all), layer("flatten")}));
    const Node& node = node_named(graph, "attention_1");
    ASSERT_EQ(node.inputs.size(), lengths ? 4U : 3U);
    if (lengths) {
      EXPECT_EQ(node.inputs[3], 3);
    }
    EXPECT_EQ(output_of(graph, "attention_1.queries"), (Shape{6, 12}));
    EXPECT_EQ(output_of(graph, "attention_1.keys"), (Shape{5, 6}));
    EXPECT_EQ(output_of(graph, "attention_1.values"), (Shape{5, 6}));
    EXPECT_EQ(output_of(graph, "attention_1.out"), (Shape{6, 12}));
    EXPECT_EQ(attribute(node, "kv_num_heads"), 2);
    Bench bench(graph, {4});
    expect_gradients(bench, 4, 2e-3);
  }
}

TEST(LayersSequence, RefusesWhatIsNoLengthAndNoSequence) {
  const auto reads = [](const char* type, const Names& from, const Options& more = {}) {
    Options options = {{"from", from}};
    if (!std::string(type).starts_with("global")) options.emplace_back("heads", 4);
    options.insert(options.end(), more.begin(), more.end());
    return ragged({embedding(9, 12), layer(type, options)});
  };
  expect_deck_error(reads("attention", {"embedding_1", "memory", "text"}), "deck.toml:2:100",
                    {"third input", "a length for each sample, [1], or a mask, [5], not [6]"});
  expect_deck_error(reads("attention", {"embedding_1", "memory"}, {{"causal", true}}), "deck.toml:2:102",
                    {"no meaning where a sequence attends to another one"});
  for (const char* type : {"transformer_block", "global_avg_pool1d", "global_max_pool1d"})
    expect_deck_error(reads(type, {"embedding_1", "memory"}), "deck.toml:2:100",
                      {"a length for each sample, [1],", "not [5, 8]"});
  ModelSpec learned = ragged({embedding(9, 12), layer("flatten"), layer("dense", {{"units", 1}}),
                              layer("lstm", {{"from", Names{"embedding_1", "dense_1"}}, {"units", 2}})});
  expect_deck_error(learned, "deck.toml:4:100",
                    {"a length for each sample, [1], not what a layer gives, [1]"});
  expect_deck_error(reads("transformer_block", {"embedding_1", "memory", "memory.length"}), "deck.toml:2:100",
                    {"reads 1 to 2 outputs, not 3"});
  const auto halved = layer("conv1d", {{"filters", 4}, {"kernel", 2}, {"stride", 2}});
  const auto pool = layer("global_avg_pool1d", {{"from", Names{"conv1d_1", "text.length"}}});
  expect_deck_error(ragged({embedding(9, 12), halved, pool}), "deck.toml:3:100",
                    {"the lengths are of sequences of 6 steps", "reads one of shape"});
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
