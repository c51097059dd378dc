// SPDX-License-Identifier: Apache-2.0
// Recurrent layers: nodes, shapes, parameters, initial values, every option, lengths, gradients, refusals.
#include <gtest/gtest.h>

#include "model/layers.h"
#include "model/networks.h"

namespace lepton::model {

namespace {

Graph recurrent_graph(const std::string& type, const Options& options) {
  Options all = {{"units", 3}};
  all.insert(all.end(), options.begin(), options.end());
  return graph_of({6, 4}, {layer(type, all)});
}

std::vector<float> initial_values(const Graph& graph, const std::string& name) {
  std::vector<float> arena(static_cast<size_t>(graph.layout.elements()));
  initialise(graph, 3, 0, static_cast<int>(graph.layout.tensors().size()), arena);
  const ArenaTensor& tensor = graph.layout.tensors()[static_cast<size_t>(tensor_named(graph, name))];
  return {arena.begin() + tensor.offset, arena.begin() + tensor.offset + tensor.count};
}

const Shape& shape_of(const Graph& graph, const std::string& name) {
  return graph.layout.tensors()[static_cast<size_t>(tensor_named(graph, name))].shape;
}

std::string text_of(const Graph& graph, const std::string& node, const char* attribute) {
  return ops::string_attribute(node_named(graph, node).attributes, attribute, "");
}

/// Gradients of the network's loss against differences, for some elements of every tensor.
void expect_right_gradients(Bench& bench, int64_t n) {
  const KeepingSink sink = bench.backward(n);
  for (size_t tensor = 0; tensor < bench.graph().layout.tensors().size(); ++tensor) {
    const ArenaTensor& entry = bench.graph().layout.tensors()[tensor];
    const std::vector<float>& gradient = sink.gradients.at(static_cast<int>(tensor));
    double largest = 0.01;
    for (const float g : gradient) largest = std::max<double>(largest, std::abs(g));
    for (int64_t i = 0; i < entry.count; i += 1 + entry.count / 7) {
      float& parameter = bench.arena[static_cast<size_t>(entry.offset + i)];
      const float kept = parameter;
      parameter = kept + 5e-3F;
      const double above = bench.loss(n);
      parameter = kept - 5e-3F;
      const double below = bench.loss(n);
      parameter = kept;
      EXPECT_NEAR(gradient[static_cast<size_t>(i)], (above - below) / 1e-2, 1e-2 * largest)
          << entry.name << " " << i;
    }
  }
}

}  // namespace

TEST(LayersRecurrent, Nodes) {
  for (const auto& [type, operation, gates] :
       {std::tuple{"rnn", "RNN", 1}, std::tuple{"lstm", "LSTM", 4}, std::tuple{"gru", "GRU", 3}}) {
    const Graph graph = recurrent_graph(type, {});
    const std::string name = std::string(type) + "_1";
    ASSERT_EQ(graph.nodes.size(), 1U);
    EXPECT_EQ(graph.nodes[0].type, operation);
    EXPECT_EQ(output_of(graph, name), (Shape{3})) << "the last state";
    EXPECT_EQ(text_of(graph, name, "direction"), "forward");
    EXPECT_EQ(shape_of(graph, name + ".weight"), (Shape{1, gates * 3, 4}));
    EXPECT_EQ(shape_of(graph, name + ".recurrent_weight"), (Shape{1, gates * 3, 3}));
    EXPECT_EQ(shape_of(graph, name + ".bias"), (Shape{1, 2 * gates * 3}));
    const auto& tensors = graph.layout.tensors();
    EXPECT_TRUE(tensors[0].decays && tensors[1].decays && !tensors[2].decays);
  }
  EXPECT_EQ(ops::int_attribute(recurrent_graph("gru", {}).nodes[0].attributes, "linear_before_reset", 0), 1);
}

TEST(LayersRecurrent, EveryOption) {
  const Graph graph = recurrent_graph("lstm", {{"layers", 3},
                                               {"bidirectional", true},
                                               {"output", "sequence"},
                                               {"dropout", 0.25},
                                               {"bias", false},
                                               {"init", "normal"},
                                               {"init_deviation", 0.5},
                                               {"recurrent_init", "glorot_normal"},
                                               {"l2", 0.375}});
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) names.push_back(node.name);
  EXPECT_EQ(names, (std::vector<std::string>{"lstm_1.layer_1", "lstm_1.layer_2.dropout", "lstm_1.layer_2",
                                             "lstm_1.layer_3.dropout", "lstm_1.layer_3"}));
  EXPECT_EQ(ops::float_attribute(graph.nodes[1].attributes, "ratio", 0), 0.25);
  for (const char* name : {"lstm_1.layer_1", "lstm_1.layer_2", "lstm_1.layer_3"}) {
    EXPECT_EQ(output_of(graph, name), (Shape{6, 6}));
    EXPECT_EQ(text_of(graph, name, "direction"), "bidirectional");
  }
  EXPECT_EQ(shape_of(graph, "lstm_1.layer_1.weight"), (Shape{2, 12, 4}));
  EXPECT_EQ(shape_of(graph, "lstm_1.layer_2.weight"), (Shape{2, 12, 6})) << "both directions";
  ASSERT_EQ(graph.layout.tensors().size(), 6U) << "no biases";
  EXPECT_EQ(graph.initialisers[0].kind, Initialiser::Kind::normal);
  EXPECT_EQ(graph.initialisers[0].deviation, 0.5);
  EXPECT_EQ(graph.initialisers[1].kind, Initialiser::Kind::glorot_normal);
  for (const ArenaTensor& tensor : graph.layout.tensors()) EXPECT_EQ(tensor.l2, 0.375);

  const Graph last = recurrent_graph("gru", {{"layers", 2}, {"reset_after", false}});
  EXPECT_EQ(output_of(last, "gru_1.layer_1"), (Shape{6, 3})) << "the states that the next one takes";
  EXPECT_EQ(output_of(last, "gru_1.layer_2"), (Shape{3}));
  EXPECT_EQ(ops::int_attribute(last.nodes[0].attributes, "linear_before_reset", 1), 0);
  const Graph relu = recurrent_graph("rnn", {{"activation", "relu"}, {"bidirectional", true}});
  EXPECT_EQ(ops::texts_attribute(relu.nodes[0].attributes, "activations", {}),
            (std::vector<std::string>{"Relu", "Relu"}));
  EXPECT_TRUE(
      ops::texts_attribute(recurrent_graph("rnn", {}).nodes[0].attributes, "activations", {}).empty());
}

TEST(LayersRecurrent, InitialValues) {
  const Graph graph =
      graph_of({6, 4}, {layer("lstm", {{"units", 3}, {"bidirectional", true}}), layer("relu")});
  EXPECT_EQ(graph.initialisers[0].kind, Initialiser::Kind::glorot_uniform) << "whatever comes behind";
  const float limit = std::sqrt(6.0F / (4 + 3));
  for (const float w : initial_values(graph, "lstm_1.weight")) EXPECT_LE(std::abs(w), limit * 1.0001F);
  const std::vector<float> r = initial_values(graph, "lstm_1.recurrent_weight");
  ASSERT_EQ(r.size(), 2U * 12 * 3);
  for (size_t gate = 0; gate < 8; ++gate)
    for (size_t a = 0; a < 3; ++a)
      for (size_t b = 0; b < 3; ++b) {
        float product = 0;
        for (size_t k = 0; k < 3; ++k) product += r[(gate * 3 + a) * 3 + k] * r[(gate * 3 + b) * 3 + k];
        EXPECT_NEAR(product, a == b ? 1 : 0, 1e-6);
      }
  const std::vector<float> b = initial_values(graph, "lstm_1.bias");
  for (size_t i = 0; i < b.size(); ++i) {
    const size_t gate = i % 24 / 3;
    EXPECT_EQ(b[i], gate == 2 ? 1.0F : 0.0F) << i << ": of W's forget gates alone";
  }
  for (const float value : initial_values(recurrent_graph("lstm", {{"forget_bias", 0}}), "lstm_1.bias"))
    EXPECT_EQ(value, 0.0F);
  for (const float value : initial_values(recurrent_graph("gru", {}), "gru_1.bias")) EXPECT_EQ(value, 0.0F);
}

TEST(LayersRecurrent, Gradients) {
  for (const char* type : {"rnn", "lstm", "gru"}) {
    SCOPED_TRACE(type);
    Bench bench(graph_of({5}, {layer("embedding", {{"rows", 9}, {"width", 4}, {"init_deviation", 1.0}}),
                               layer(type, {{"units", 3},
                                            {"layers", 2},
                                            {"dropout", 0.25},
                                            {"bidirectional", true},
                                            {"output", "sequence"}}),
                               layer(type, {{"units", 4}}), layer("dense", {{"units", 2}})}),
                {6}, {6});
    expect_right_gradients(bench, 6);
  }
}

/// A second value, here a part of the network's input.
TEST(LayersRecurrent, TakesLengths) {
  const ModelSpec model = network({6, 4}, {layer("lstm", {{"units", 3}, {"layers", 2}})});
  const LayerSpec& spec = model.layers[0];
  const LayerRow row = recurrent_layer_rows()[1];
  const std::string name = "lstm_1", follower;
  const LayerOptions options(spec, name, row.options, row.nested);
  NetworkNames names;
  GraphBuilder builder({1});
  const std::vector<int> inputs = {0};
  const LayerContext context{builder, model, spec, options, name, inputs};
  const int sequence = builder.add_node("Reshape", "sequence", {{"shape", std::vector<int64_t>{1, 1}}}, {0},
                                        {}, spec.position);
  const RecurrentOptions read = read_recurrent_options({names, spec, options, name, follower});
  const int value = add_recurrent(context, read, sequence, 0);
  const Graph graph = builder.finish();
  EXPECT_EQ(graph.nodes.back().output, value);
  for (const char* node : {"lstm_1.layer_1", "lstm_1.layer_2"}) {
    ASSERT_EQ(node_named(graph, node).inputs.size(), 2U);
    EXPECT_EQ(node_named(graph, node).inputs[1], 0);
  }
}

TEST(LayersRecurrent, Refusals) {
  const auto deck = [](const char* type, const Options& options) {
    return network({6, 4}, {layer(type, options)});
  };
  expect_deck_error(deck("lstm", {}), "deck.toml:1:5", {"needs the option \"units\""});
  expect_deck_error(deck("lstm", {{"units", 3}, {"dropout", 0.5}}), "deck.toml:1:101",
                    {"no effect without layers = 2"});
  expect_deck_error(deck("lstm", {{"units", 3}, {"layers", 2}, {"dropout", 1}}), "deck.toml:1:102",
                    {"dropout = 1"});
  expect_deck_error(deck("lstm", {{"units", 3}, {"output", "all"}}), "deck.toml:1:101", {"all", "sequence"});
  expect_deck_error(deck("lstm", {{"units", 3}, {"forget_bias", 1}, {"bias", false}}), "deck.toml:1:101",
                    {"no effect with bias = false"});
  expect_deck_error(deck("gru", {{"units", 3}, {"forget_bias", 1}}), "deck.toml:1:101",
                    {"unknown option \"forget_bias\" of a gru layer"});
  expect_deck_error(deck("rnn", {{"units", 3}, {"activation", "gelu"}}), "deck.toml:1:101",
                    {"gelu", "relu", "tanh"});
  expect_deck_error(deck("lstm", {{"units", 3}, {"recurrent_init", "normal"}}), "deck.toml:1:101",
                    {"orthogonal"});
  expect_deck_error(deck("lstm", {{"units", int64_t{1} << 30}}), "deck.toml:1:5",
                    {"too large for any machine"});
  expect_deck_error(network({12}, {layer("lstm", {{"units", 3}})}), "deck.toml:1:5",
                    {"takes a sequence [length, features]", "[12]"});
}

}  // namespace lepton::model
