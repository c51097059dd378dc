// SPDX-License-Identifier: Apache-2.0
// Recurrent layers and Resize go over and come back as the same graph, with the same forward bits; inputs of
// integers and truth values.
#include "model/networks.h"
#include "onnx/export.h"
#include "onnx/model_file.h"
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using model::layer;
using Inputs = std::vector<std::vector<float>>;

std::vector<model::NamedShape> inputs_of(const model::Graph& graph) {
  std::vector<model::NamedShape> inputs;
  for (const int value : graph.inputs) {
    const model::Value& input = graph.values[static_cast<size_t>(value)];
    inputs.push_back({input.name, input.shape});
  }
  return inputs;
}

messages::ModelProto exported(const model::Graph& graph, int64_t opset) {
  ExportSpec spec;
  spec.opset = opset;
  return parse_model("m", export_network(graph, arena_of(graph), spec).bytes);
}

void expect_back(const model::Graph& graph, const Inputs& inputs) {
  for (const int64_t opset : {13, 18, 21}) {
    const std::string bytes = exported(graph, opset).SerializeAsString();
    ImportSpec spec{"out.onnx", {}, graph.input_shape()};
    spec.inputs = inputs_of(graph);
    const model::Graph back = import_network(bytes, spec);
    ASSERT_EQ(types_of(graph), types_of(back));
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      EXPECT_EQ(graph.nodes[i].name, back.nodes[i].name);
      EXPECT_EQ(graph.nodes[i].inputs, back.nodes[i].inputs) << graph.nodes[i].name;
      EXPECT_EQ(graph.nodes[i].parameters, back.nodes[i].parameters) << graph.nodes[i].name;
      EXPECT_EQ(graph.nodes[i].attributes, back.nodes[i].attributes) << graph.nodes[i].name;
    }
    EXPECT_EQ(arena_of(graph), arena_of(back));
    EXPECT_EQ(run_inputs(graph, arena_of(graph), inputs), run_inputs(back, arena_of(back), inputs));
  }
}

model::LayerSpec recurrent(const std::string& type, bool bidirectional, const std::string& output,
                           int64_t layers = 1) {
  return layer(
      type,
      {{"units", int64_t{3}}, {"bidirectional", bidirectional}, {"output", output}, {"layers", layers}});
}

TEST(ExportRules, RecurrentLayersComeBack) {
  for (const std::string type : {"rnn", "lstm", "gru"})
    for (const bool both : {false, true})
      for (const std::string output : {"sequence", "last"})
        expect_back(model::graph_of({4, 2}, {recurrent(type, both, output, 2)}), {counted(2 * 8)});
  expect_back(
      model::graph_of(
          {4, 2},
          {layer("rnn", {{"units", int64_t{3}}, {"activation", std::string("relu")}, {"bias", false}})}),
      {counted(2 * 8)});
  expect_back(model::graph_of({4, 2}, {layer("gru", {{"units", int64_t{3}}, {"reset_after", false}})}),
              {counted(2 * 8)});
}

/// Tokens and lengths, as sentences are.
model::Graph sentences() {
  model::ModelSpec spec =
      model::network({4}, {layer("embedding", {{"rows", int64_t{6}}, {"width", int64_t{2}}}),
                           layer("lstm", {{"units", int64_t{3}},
                                          {"bidirectional", true},
                                          {"from", std::vector<std::string>{"embedding_1", "input.length"}}}),
                           layer("dense", {{"units", int64_t{2}}})});
  spec.inputs = {{"input", {4}}, {"input.length", {1}}};
  spec.positions = 0;
  return model::build_graph(spec);
}

TEST(ExportRules, LengthsComeBack) {
  expect_back(sentences(), {{0, 1, 5, 2, 3, 3, 4, 0}, {4, 2}});
}

/// Of recurrent layers, which take them as they are, and of functions, which take them as numbers.
TEST(ExportRules, LengthsOfSeveralKindsComeBack) {
  using From = std::vector<std::string>;
  model::ModelSpec spec = model::network(
      {4}, {layer("embedding", {{"rows", int64_t{6}}, {"width", int64_t{2}}, {"name", std::string("rows")}}),
            layer("lstm", {{"units", int64_t{4}},
                           {"output", std::string("sequence")},
                           {"from", From{"rows", "input.length"}}}),
            layer("attention", {{"heads", int64_t{2}}, {"from", From{"lstm_1", "input.length"}}}),
            layer("global_avg_pool1d", {{"from", From{"attention_1", "input.length"}}}),
            layer("dense", {{"units", int64_t{2}}})});
  spec.inputs = {{"input", {4}}, {"input.length", {1}}};
  spec.positions = 0;
  const model::Graph graph = model::build_graph(spec);
  expect_back(graph, {{0, 1, 5, 2, 3, 3, 4, 0}, {4, 2}});
  EXPECT_EQ(declared_shape(exported(graph, 17).graph().input(1)), "[N]");
}

/// What the formula c * x + b takes, b of which learns.
TEST(ExportRules, ConstantsStayConstants) {
  ModelText text({3});
  text.weights("b", {3})
      .node("Constant", {}, "c", {{"value_floats", std::vector<double>{2, 3, 4}}})
      .node("Mul", {"x", "c"}, "m")
      .node("Add", {"m", "b"}, "y");
  const model::Graph graph = text.import({3});
  ASSERT_TRUE(graph.layout.tensors()[0].frozen);
  expect_back(graph, {{1, 2, 3, 4, 5, 6}});
  const auto model = exported(graph, 17);
  EXPECT_EQ(model.graph().initializer_size(), 1);
  const model::Graph back = import_network(model.SerializeAsString(), {"out.onnx", {}, {3}});
  EXPECT_TRUE(back.layout.tensors()[0].frozen);
  EXPECT_FALSE(back.layout.tensors()[1].frozen);
}

TEST(ExportRules, NumbersOfRowsAndLengthsAreIntegers) {
  const messages::ModelProto model = exported(sentences(), 17);
  ASSERT_EQ(model.graph().input_size(), 2);
  EXPECT_EQ(declared_shape(model.graph().input(0)), "[N, 4]");
  EXPECT_EQ(declared_shape(model.graph().input(1)), "[N]");
  for (const auto& input : model.graph().input())
    EXPECT_EQ(input.type().tensor_type().elem_type(), messages::TensorProto::INT64);
  const model::Graph both =
      model::graph_of({3}, {layer("embedding", {{"rows", int64_t{6}}, {"width", int64_t{3}}}),
                            layer("flatten", {{"name", std::string("rows")}}),
                            layer("concat", {{"from", std::vector<std::string>{"rows", "input"}}})});
  EXPECT_EQ(exported(both, 17).graph().input(0).type().tensor_type().elem_type(),
            messages::TensorProto::FLOAT)
      << "the numbers themselves are taken, too";
}

TEST(ExportRules, ResizeComesBack) {
  for (const std::string mode : {"nearest", "linear"})
    expect_back(model::graph_of({2, 3, 4}, {layer("upsample2d", {{"scale", int64_t{2}}, {"mode", mode}})}),
                {counted(2 * 24)});
  expect_back(model::graph_of({5, 2}, {layer("upsample1d", {{"scale", int64_t{3}}})}), {counted(2 * 10)});
  ModelText sizes({1, 2, 3}, 18);
  sizes.integers("sizes", {5, 4})
      .node("Resize", {"x", "", "", "sizes"}, "y",
            {{"axes", std::vector<int64_t>{2, 3}}, {"mode", std::string("linear")}});
  expect_back(sizes.import({1, 2, 3}), {counted(2 * 6)});
}

TEST(ExportRules, GroupNormComesBack) {
  expect_back(model::graph_of({4, 3, 2}, {layer("group_norm", {{"groups", int64_t{2}}})}), {counted(2 * 24)});
}

/// Truth values have a type of their own in ONNX, numbers in Lepton.
TEST(ExportRules, TruthValuesAreCast) {
  ModelText text({4});
  text.floats("zero", {1}, {0})
      .floats("nine", {1}, {9})
      .floats("mask", {4}, {0, 1, 0, 1})
      .node("Greater", {"x", "zero"}, "positive")
      .node("Not", {"positive"}, "not_positive")
      .node("Cast", {"not_positive"}, "numbers", {{"to", int64_t{1}}})
      .node("Add", {"numbers", "x"}, "sum")
      .node("Where", {"positive", "x", "sum"}, "first")
      .node("Where", {"x", "first", "nine"}, "second")
      .node("Where", {"mask", "second", "zero"}, "y");
  const model::Graph graph = text.import({4});
  const std::vector<float> arena = arena_of(graph), x{-2, 0, 1, 3};
  const Exported exported = export_network(graph, arena, {});
  const auto model = parse_model("m", exported.bytes);
  std::vector<std::string> types;
  for (const auto& node : model.graph().node()) types.push_back(node.op_type());
  EXPECT_EQ(types, (std::vector<std::string>{"Greater", "Not", "Cast", "Add", "Where", "Cast", "Where",
                                             "Cast", "Where"}));
  const std::vector<std::pair<int, int64_t>> casts = {{2, 1}, {5, 9}, {7, 9}};
  for (const auto& [node, to] : casts) EXPECT_EQ(model.graph().node(node).attribute(0).i(), to) << node;
  EXPECT_EQ(model.graph().node(4).input(0), model.graph().node(0).output(0));
  const model::Graph back = import_network(exported.bytes, {"out.onnx", {}, {4}});
  EXPECT_EQ(types_of(back), types_of(graph));
  EXPECT_EQ(run(graph, arena, x), (std::vector<float>{0, 9, 0, 3}));
  EXPECT_EQ(run(back, arena_of(back), x), run(graph, arena, x));
}

}  // namespace
}  // namespace lepton::onnx
