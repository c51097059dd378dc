// SPDX-License-Identifier: Apache-2.0
// Exports come back as the same graph, with the same forward bits.
#include "onnx/export.h"

#include "model/networks.h"
#include "onnx/model_file.h"
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using model::layer;
using model::residual;

ExportSpec in_opset(int64_t opset) {
  ExportSpec spec;
  spec.opset = opset;
  return spec;
}

void expect_same_graph(const model::Graph& a, const model::Graph& b) {
  ASSERT_EQ(types_of(a), types_of(b));
  for (size_t i = 0; i < a.nodes.size(); ++i) {
    EXPECT_EQ(a.nodes[i].name, b.nodes[i].name);
    EXPECT_EQ(a.nodes[i].inputs, b.nodes[i].inputs) << a.nodes[i].name;
    EXPECT_EQ(a.nodes[i].parameters, b.nodes[i].parameters) << a.nodes[i].name;
    EXPECT_EQ(a.nodes[i].output, b.nodes[i].output) << a.nodes[i].name;
    EXPECT_EQ(a.values[i].shape, b.values[i].shape);
    EXPECT_EQ(a.values[i].layout, b.values[i].layout);
    if (a.nodes[i].type != "Reshape") {  // whose shape is written out
      EXPECT_EQ(a.nodes[i].attributes, b.nodes[i].attributes) << a.nodes[i].name;
    }
  }
  ASSERT_EQ(a.layout.tensors().size(), b.layout.tensors().size());
  for (size_t t = 0; t < a.layout.tensors().size(); ++t) {
    EXPECT_EQ(a.layout.tensors()[t].name, b.layout.tensors()[t].name);
    EXPECT_EQ(a.layout.tensors()[t].shape, b.layout.tensors()[t].shape);
    EXPECT_EQ(a.layout.tensors()[t].role, b.layout.tensors()[t].role);
    EXPECT_EQ(a.layout.tensors()[t].decays, b.layout.tensors()[t].decays) << a.layout.tensors()[t].name;
  }
  EXPECT_EQ(a.statistics_momentum, b.statistics_momentum);
}

void expect_back(const model::Graph& graph, const std::vector<float>& x, int64_t opset) {
  const std::vector<float> arena = arena_of(graph);
  const Exported exported = export_network(graph, arena, in_opset(opset));
  const model::Graph back = import_network(exported.bytes, {"out.onnx", {}, graph.input_shape()});
  expect_same_graph(graph, back);
  EXPECT_EQ(arena, arena_of(back));
  EXPECT_EQ(run(graph, arena, x), run(back, arena_of(back), x));
}

TEST(Export, ConstantsStayAtTheirPlacesAmongOperands) {
  ModelText text({4});
  text.floats("zero", {1}, {0})
      .floats("low", {4}, {-5, -6, -7, -8})
      .node("Greater", {"x", "zero"}, "positive")
      .node("Where", {"positive", "low", "x"}, "y");
  const model::Graph graph = text.import({4});
  EXPECT_EQ(run(graph, arena_of(graph), {-2, -1, 1, 2}), (std::vector<float>{-2, -1, -7, -8}));
  expect_back(graph, {-2, -1, 1, 2}, 17);
}

/// How a network is trained is not in the file; opset 13 has no such attribute.
TEST(Export, FrozenBatchNormIsBatchNorm) {
  const model::Graph graph = model::graph_of(
      {3}, {layer("batch_norm", {{"frozen", true}}), layer("dense", {{"units", int64_t{2}}})});
  ASSERT_TRUE(graph.nodes[0].attributes.contains("training_mode"));
  const Exported exported = export_network(graph, arena_of(graph), in_opset(13));
  const auto model = parse_model("out.onnx", exported.bytes);
  for (const auto& attribute : model.graph().node(0).attribute())
    EXPECT_NE(attribute.name(), "training_mode");
}

TEST(Export, ConvolutionalNetworksComeBack) {
  const auto graph = model::graph_of(
      {3, 8, 8},
      {layer("conv2d", {{"filters", int64_t{4}},
                        {"kernel", int64_t{3}},
                        {"padding", std::string("same")},
                        {"bias", false}}),
       layer("batch_norm", {{"momentum", 0.8}, {"epsilon", 1e-3}}), layer("relu"), layer("max_pool2d"),
       residual({layer("conv2d", {{"filters", int64_t{4}}, {"kernel", int64_t{3}}, {"padding", int64_t{1}}}),
                 layer("leaky_relu", {{"alpha", 0.2}})}),
       layer("avg_pool2d"), layer("prelu"), layer("flatten"), layer("dropout", {{"rate", 0.3}}),
       layer("dense", {{"units", int64_t{5}}, {"activation", std::string("gelu")}}),
       layer("dense", {{"units", int64_t{3}}})});
  for (const int64_t opset : {13, 17, 19, 21}) expect_back(graph, counted(2 * 192), opset);
}

TEST(Export, VolumesSequencesAndTransposesComeBack) {
  expect_back(
      model::graph_of({1, 4, 4, 4}, {layer("conv3d", {{"filters", int64_t{2}}, {"kernel", int64_t{2}}}),
                                     layer("global_avg_pool3d")}),
      counted(2 * 64), 17);
  expect_back(model::graph_of({6, 3}, {layer("conv1d", {{"filters", int64_t{4}}, {"kernel", int64_t{3}}}),
                                       layer("layer_norm"), layer("global_max_pool1d")}),
              counted(2 * 18), 17);
  expect_back(
      model::graph_of({2, 3, 3},
                      {layer("conv2d_transpose",
                             {{"filters", int64_t{2}}, {"kernel", int64_t{2}}, {"stride", int64_t{2}}}),
                       layer("softmax")}),
      counted(2 * 18), 17);
}

TEST(Export, TransformersComeBack) {
  const auto graph = model::graph_of(
      {5}, {layer("embedding", {{"rows", int64_t{7}}, {"width", int64_t{8}}}), layer("positional_embedding"),
            layer("transformer_block", {{"heads", int64_t{4}}, {"key_heads", int64_t{2}}, {"causal", true}}),
            layer("transformer_block", {{"heads", int64_t{2}}, {"norm", std::string("rms_norm")}}),
            layer("dense", {{"units", int64_t{7}}})});
  for (const int64_t opset : {13, 17, 21}) expect_back(graph, {0, 1, 2, 3, 4, 6, 5, 4, 3, 0}, opset);
}

TEST(Export, SaysWhatIsNoOperatorOfOnnx) {
  const auto graph = model::graph_of({4}, {layer("gelu"), layer("gelu"), layer("layer_norm")});
  const auto notes = [&](int64_t opset) {
    return export_network(graph, arena_of(graph), in_opset(opset)).notes;
  };
  EXPECT_EQ(notes(21).size(), 0U);
  ASSERT_EQ(notes(17).size(), 1U);
  EXPECT_EQ(notes(13).size(), 2U);
  EXPECT_NE(notes(17)[0].find("Gelu is no operator of ONNX's in opset 17"), std::string::npos);
  for (const int64_t opset : {12, 22})
    expect_error_of([&] { notes(opset); }, Exit::usage, {std::to_string(opset), "13 to 21"});
}

TEST(Export, TheBatchIsFreeAndTheInputMayBeNormalised) {
  const auto graph = model::graph_of({2}, {layer("dense", {{"units", int64_t{1}}})});
  ExportSpec spec = in_opset(17);
  spec.shift = {1, 2};
  spec.factor = {3, 4};
  spec.normalised = {2};
  const auto model = parse_model("m", export_network(graph, arena_of(graph), spec).bytes);
  EXPECT_EQ(declared_shape(model.graph().input(0)), "[N, 2]");
  EXPECT_EQ(declared_shape(model.graph().output(0)), "[N, 1]");
  ASSERT_EQ(model.graph().node_size(), 3);
  EXPECT_EQ(model.graph().node(0).op_type(), "Sub");
  EXPECT_EQ(model.graph().node(1).op_type(), "Mul");
  EXPECT_EQ(read_tensor(model.graph().initializer(3)).floats, spec.factor);
}

/// Axes of Pad came with opset 18.
TEST(Export, PadNamesNoAxes) {
  const model::Graph graph = model::graph_of(
      {2, 3, 4},
      {model::layer("zero_pad2d", {{"padding", std::vector<int64_t>{1, 2}}}), model::layer("flatten")});
  for (const int64_t opset : {13, 18}) {
    ExportSpec spec;
    spec.opset = opset;
    const auto model = parse_model("m", export_network(graph, {}, spec).bytes);
    const auto pad =
        std::ranges::find_if(model.graph().node(), [](const auto& n) { return n.op_type() == "Pad"; });
    ASSERT_NE(pad, model.graph().node().end());
    ASSERT_EQ(pad->input_size(), 2);
    const auto pads = std::ranges::find_if(
        model.graph().initializer(), [&](const auto& tensor) { return tensor.name() == pad->input(1); });
    EXPECT_EQ(read_tensor(*pads).numbers(), (std::vector<int64_t>{0, 0, 1, 2, 0, 0, 1, 2}));
  }
}

TEST(Export, DilatedPoolsNeedANewerOpset) {
  ModelText text({1, 8});
  text.node("AveragePool", {"x"}, "y",
            {{"kernel_shape", std::vector<int64_t>{2}}, {"dilations", std::vector<int64_t>{2}}});
  const model::Graph graph = text.import({1, 8});
  EXPECT_EQ(export_network(graph, arena_of(graph), in_opset(19)).notes.size(), 0U);
  expect_error_of([&] { export_network(graph, arena_of(graph), in_opset(17)); }, Exit::deck, {"opset 19"});
}

TEST(Export, SeveralOutputsAndLengthsGoOver) {
  model::ModelSpec spec = model::network(
      {6}, {layer("embedding", {{"rows", int64_t{9}}, {"width", int64_t{4}}}),
            layer("global_avg_pool1d", {{"from", std::vector<std::string>{"embedding_1", "text.length"}}}),
            layer("dense", {{"units", int64_t{3}}, {"name", std::string("kind")}}),
            layer("dense", {{"units", int64_t{1}}, {"from", std::string("global_avg_pool1d_1")}})});
  spec.inputs = {{"text", {6}}, {"text.length", {1}}};
  spec.heads = {{"a", "kind", 3, 1}, {"b", "dense_2", 1, 1}, {"c", "kind", 3, 1}};
  const model::Graph graph = model::build_graph(spec);
  const auto model = parse_model("m", export_network(graph, arena_of(graph), in_opset(17)).bytes);
  ASSERT_EQ(model.graph().output_size(), 2) << "each once";
  EXPECT_EQ(declared_shape(model.graph().output(0)), "[N, 3]");
  EXPECT_EQ(declared_shape(model.graph().output(1)), "[N, 1]");
  ASSERT_EQ(model.functions_size(), 1);
  EXPECT_EQ(model.functions(0).name(), "GlobalAveragePool");
  for (const auto& node : model.graph().node()) EXPECT_NE(node.op_type(), "Concat");
}

}  // namespace
}  // namespace lepton::onnx
