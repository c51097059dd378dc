// SPDX-License-Identifier: Apache-2.0
// Recurrent layers of files: the ways in which exporters bring Y and Y_h together vanish, others keep ONNX's
// dimensions; states, lengths and layouts; what is refused.
#include "model/networks.h"
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Numbers = std::vector<int64_t>;
using Types = std::vector<std::string>;
using model::layer;

constexpr int64_t steps = 5, features = 3, units = 2;

int64_t gates_of(const std::string& type) {
  return type == "LSTM" ? 4 : type == "GRU" ? 3 : 1;
}

/// x [N, 5, 3], turned, through a layer that gives Y and Y_h.
ModelText layer_of(const std::string& type, int64_t directions, ops::Attributes attributes = {},
                   const std::vector<std::string>& more = {}) {
  const int64_t width = gates_of(type) * units;
  std::vector<std::string> inputs{"s", "w", "r", "b"};
  inputs.insert(inputs.end(), more.begin(), more.end());
  attributes["hidden_size"] = units;
  attributes.emplace("direction", std::string(directions == 2 ? "bidirectional" : "forward"));
  if (type == "GRU") attributes["linear_before_reset"] = int64_t{1};
  ModelText text({steps, features});
  text.weights("w", {directions, width, features})
      .weights("r", {directions, width, units})
      .weights("b", {directions, 2 * width})
      .node("Transpose", {"x"}, "s", {{"perm", Numbers{1, 0, 2}}})
      .node(type, inputs, "Y", attributes);
  text.last().add_output("Y_h");
  return text.integers("zero", {0}).integers("one", {1});
}

model::Graph deck_of(const std::string& type, int64_t directions, bool sequence) {
  const std::string name = type == "LSTM" ? "lstm" : type == "GRU" ? "gru" : "rnn";
  return model::graph_of({steps, features},
                         {layer(name, {{"units", units},
                                       {"bidirectional", directions == 2},
                                       {"output", std::string(sequence ? "sequence" : "last")}})});
}

const std::vector<float> x = counted(2 * steps * features);

/// One node, and the scores of the deck's layer with the file's parameters.
void expect_layer(const ModelText& text, const std::string& type, int64_t directions, bool sequence) {
  const model::Graph graph = text.import({steps, features}), deck = deck_of(type, directions, sequence);
  EXPECT_EQ(types_of(graph), Types{type});
  EXPECT_EQ(run(graph, arena_of(graph), x), run(deck, arena_of(graph), x));
}

TEST(ImportRecurrent, SequencesOfOneDirection) {
  for (const std::string type : {"RNN", "LSTM", "GRU"})
    expect_layer(layer_of(type, 1)
                     .node("Squeeze", {"Y", "one"}, "q")
                     .node("Transpose", {"q"}, "y", {{"perm", Numbers{1, 0, 2}}}),
                 type, 1, true);
}

TEST(ImportRecurrent, SequencesOfBothDirections) {
  for (const std::string type : {"RNN", "LSTM", "GRU"}) {
    ModelText text = layer_of(type, 2);
    text.node("Transpose", {"Y"}, "t", {{"perm", Numbers{0, 2, 1, 3}}})
        .integers("shape", {0, 0, -1})
        .node("Reshape", {"t", "shape"}, "q")
        .node("Transpose", {"q"}, "y", {{"perm", Numbers{1, 0, 2}}});
    expect_layer(text, type, 2, true);
  }
  ModelText own = layer_of("LSTM", 2);
  own.node("Transpose", {"Y"}, "t", {{"perm", Numbers{2, 0, 1, 3}}})
      .integers("shape", {0, steps, 2 * units})
      .node("Reshape", {"t", "shape"}, "y");
  expect_layer(own, "LSTM", 2, true);
}

TEST(ImportRecurrent, LastStates) {
  expect_layer(layer_of("LSTM", 1).node("Squeeze", {"Y_h", "zero"}, "y"), "LSTM", 1, false);
  ModelText gathered = layer_of("GRU", 1);
  write_integers("last", {}, {-1}, *gathered.message().mutable_graph()->add_initializer());
  gathered.node("Gather", {"Y_h", "last"}, "y", {{"axis", int64_t{0}}});
  expect_layer(gathered, "GRU", 1, false);
  for (const Numbers& shape : {Numbers{0, -1}, Numbers{-1, 2 * units}}) {
    ModelText both = layer_of("LSTM", 2);
    both.node("Transpose", {"Y_h"}, "t", {{"perm", Numbers{1, 0, 2}}})
        .integers("shape", shape)
        .node("Reshape", {"t", "shape"}, "y");
    expect_layer(both, "LSTM", 2, false);
  }
}

/// The states that are taken one by one, in the other order than a deck has them.
TEST(ImportRecurrent, OtherWaysKeepOnnxDimensions) {
  ModelText text = layer_of("LSTM", 2);
  auto& onnx = *text.message().mutable_graph();
  write_integers("first", {}, {0}, *onnx.add_initializer());
  write_integers("second", {}, {-1}, *onnx.add_initializer());
  text.node("Gather", {"Y_h", "second"}, "b1").node("Gather", {"Y_h", "first"}, "b2");
  text.node("Concat", {"b1", "b2"}, "y", {{"axis", int64_t{1}}});
  const model::Graph graph = text.import({steps, features}), deck = deck_of("LSTM", 2, false);
  std::vector<float> expected = run(deck, arena_of(graph), x);
  for (size_t n = 0; n < 2; ++n)
    std::rotate(expected.begin() + 4 * n, expected.begin() + 4 * n + 2, expected.begin() + 4 * n + 4);
  EXPECT_EQ(run(graph, arena_of(graph), x), expected);
  ModelText between = layer_of("LSTM", 1);
  between.node("Relu", {"Y"}, "a")
      .node("Squeeze", {"a", "one"}, "q")
      .node("Transpose", {"q"}, "y", {{"perm", Numbers{1, 0, 2}}});
  const model::Graph relu = between.import({steps, features});
  expected = run(deck_of("LSTM", 1, true), arena_of(relu), x);
  for (float& value : expected) value = std::max(value, 0.0F);
  EXPECT_EQ(run(relu, arena_of(relu), x), expected);
}

TEST(ImportRecurrent, SamplesMayComeFirst) {
  ModelText text({steps, features});
  text.weights("w", {2, 8, features})
      .weights("r", {2, 8, units})
      .weights("b", {2, 16})
      .node("LSTM", {"x", "w", "r", "b"}, "Y",
            {{"layout", int64_t{1}}, {"direction", std::string("bidirectional")}})
      .integers("shape", {0, 0, -1})
      .node("Reshape", {"Y", "shape"}, "y");
  expect_layer(text, "LSTM", 2, true);
}

/// A sequence's last states beside the sequence are cut out of it, those of rows with lengths computed again.
TEST(ImportRecurrent, BothOutputs) {
  ModelText text = layer_of("LSTM", 2);
  text.node("Transpose", {"Y"}, "t", {{"perm", Numbers{2, 0, 1, 3}}})
      .integers("shape", {0, 2 * units * steps})
      .integers("rest", {0, -1})
      .node("Reshape", {"t", "shape"}, "all")
      .node("Transpose", {"Y_h"}, "h", {{"perm", Numbers{1, 0, 2}}})
      .node("Reshape", {"h", "rest"}, "end")
      .node("Concat", {"all", "end"}, "y", {{"axis", int64_t{1}}});
  const auto expect_both = [&](const model::Graph& graph, const std::vector<std::vector<float>>& inputs,
                               const model::Graph& sequence, const model::Graph& last) {
    const std::vector<float> both = run_inputs(graph, arena_of(graph), inputs),
                             all = run_inputs(sequence, arena_of(graph), inputs),
                             end = run_inputs(last, arena_of(graph), inputs);
    std::vector<float> expected;
    for (size_t n = 0; n < 2; ++n) {
      const size_t wide = all.size() / 2, narrow = end.size() / 2;
      expected.insert(expected.end(), all.begin() + n * wide, all.begin() + (n + 1) * wide);
      expected.insert(expected.end(), end.begin() + n * narrow, end.begin() + (n + 1) * narrow);
    }
    EXPECT_EQ(both, expected);
  };
  const model::Graph cut = text.import({steps, features});
  const Types types = types_of(cut);
  EXPECT_EQ(std::count(types.begin(), types.end(), "LSTM"), 1);
  expect_both(cut, {x}, deck_of("LSTM", 2, true), deck_of("LSTM", 2, false));
  text.add_input("lengths", {}).message().mutable_graph()->mutable_node(1)->add_input("lengths");
  const std::vector<model::NamedShape> data{{"input", {steps, features}}, {"input.length", {1}}};
  const model::Graph twice = text.import_of(data);
  EXPECT_EQ(twice.layout.tensors().size(), 3U) << "the same parameters";
  const auto deck = [&](const std::string& output) {
    model::ModelSpec spec = model::network(
        {steps, features}, {layer("lstm", {{"units", units},
                                           {"bidirectional", true},
                                           {"output", output},
                                           {"from", std::vector<std::string>{"input", "input.length"}}})});
    spec.inputs = data;
    spec.positions = 0;
    return model::build_graph(spec);
  };
  expect_both(twice, {x, {4, 2}}, deck("sequence"), deck("last"));
}

TEST(ImportRecurrent, StatesOfZeroAndFullLengthsSayNothing) {
  ModelText text = layer_of("LSTM", 1, {}, {"lens", "h", "c"});
  auto& node = *text.message().mutable_graph()->mutable_node(1);
  text.integers("lens", {steps, steps})
      .node("Shape", {"x"}, "dims")
      .node("Gather", {"dims", "zero"}, "n", {{"axis", int64_t{0}}})
      .integers("units", {units})
      .node("Concat", {"one", "n", "units"}, "state", {{"axis", int64_t{0}}})
      .node("ConstantOfShape", {"state"}, "h")
      .floats("nought", {1, 1, units}, {0, 0})
      .node("Expand", {"nought", "state"}, "c")
      .node("Squeeze", {"Y_h", "zero"}, "y");
  auto& nodes = *text.message().mutable_graph()->mutable_node();
  const messages::NodeProto moved = node;  // behind what makes its states
  nodes.erase(nodes.begin() + 1);
  *nodes.Add() = moved;
  nodes.SwapElements(nodes.size() - 1, nodes.size() - 2);
  expect_layer(text, "LSTM", 1, false);
}

TEST(ImportRecurrent, DirectionsAndActivationsAreTheFiles) {
  const auto last = [](const std::string& direction, const std::vector<float>& input) {
    ModelText text =
        layer_of("RNN", 1, {{"direction", direction}, {"activations", std::vector<std::string>{"Relu"}}});
    const model::Graph graph = text.node("Squeeze", {"Y_h", "zero"}, "y").import({steps, features});
    return run(graph, arena_of(graph), input);
  };
  std::vector<float> turned;
  for (size_t n = 0; n < 2; ++n)
    for (size_t t = steps; t-- > 0;)
      turned.insert(turned.end(), x.begin() + (n * steps + t) * features,
                    x.begin() + (n * steps + t + 1) * features);
  EXPECT_EQ(last("reverse", x), last("forward", turned));
  EXPECT_NE(last("forward", x), last("forward", turned));
  for (const float value : last("forward", x)) EXPECT_GE(value, 0);
}

TEST(ImportRecurrent, WithoutValuesTheyBeginAsLayersDo) {
  const ModelText text = layer_of("LSTM", 2)
                             .node("Squeeze", {"Y_h", "zero"}, "unused")
                             .node("Transpose", {"Y_h"}, "t", {{"perm", Numbers{1, 0, 2}}})
                             .integers("shape", {0, -1})
                             .node("Reshape", {"t", "shape"}, "y");
  const model::Graph graph = text.import({steps, features}, true), deck = deck_of("LSTM", 2, false);
  for (size_t i = 0; i < 3; ++i) {
    const model::Initialiser &own = graph.initialisers[i], &expected = deck.initialisers[i];
    EXPECT_EQ(own.kind, expected.kind) << i;
    EXPECT_EQ(own.fan_in, expected.fan_in) << i;
    EXPECT_EQ(own.fan_out, expected.fan_out) << i;
    EXPECT_EQ(own.columns_begin, expected.columns_begin) << i;
    EXPECT_EQ(own.columns_end, expected.columns_end) << i;
    EXPECT_EQ(graph.layout.tensors()[i].decays, deck.layout.tensors()[i].decays) << i;
  }
}

TEST(ImportRecurrent, Refusals) {
  const auto refused = [](ModelText text, const std::string& piece) {
    text.node("Squeeze", {"Y_h", "zero"}, "y").refuse({steps, features}, {"LSTM_Y (LSTM): ", piece});
  };
  refused(layer_of("LSTM", 1, {}, {"", "h"}).weights("h", {1, 1, units}), "initial_h is not 0");
  refused(layer_of("LSTM", 1, {}, {"", "", "s"}), "initial_c is computed");
  refused(layer_of("LSTM", 1, {}, {"", "", "", "p"}).weights("p", {1, 3 * units}), "peepholes");
  refused(layer_of("LSTM", 1, {}, {"l"}).integers("l", {steps, 2}), "not the whole sequence");
  refused(layer_of("LSTM", 1, {}, {"s"}), "must be an input");
  refused(layer_of("LSTM", 1, {{"clip", 3.0}}), "clip");
  refused(layer_of("LSTM", 1, {{"input_forget", int64_t{1}}}), "input_forget");
  refused(layer_of("LSTM", 1, {{"activations", std::vector<std::string>{"HardSigmoid", "Tanh", "Tanh"}}}),
          "HardSigmoid");
  refused(layer_of("LSTM", 1, {{"layout", int64_t{1}}}), "not batch, steps and features");
  ModelText cell = layer_of("LSTM", 1);
  cell.last().add_output("Y_c");
  cell.node("Squeeze", {"Y_c", "zero"}, "y").refuse({steps, features}, {"Y_c", "is not computed"});
}

}  // namespace
}  // namespace lepton::onnx
