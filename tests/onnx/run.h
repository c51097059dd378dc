// SPDX-License-Identifier: Apache-2.0
// What the tests of onnx share: ONNX models written as C++ literals, graphs run on numbers in ONNX's order of
// dimensions, and the error that an import gives.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "model/executor.h"
#include "model/initialise.h"
#include "onnx/constant.h"
#include "onnx/export_functions.h"
#include "onnx/import.h"
#include "onnx/messages.h"
#include "ops/table.h"

namespace lepton::onnx {

/// Numbers of n samples of that shape between ONNX's order and how values go in and out (usual_layout).
inline std::vector<float> reordered(const std::vector<float>& values, const Shape& shape, bool to_memory) {
  if (usual_layout(shape) == Layout::plain) return values;
  const int64_t count = element_count(shape), channels = shape.front(), pixels = count / channels;
  std::vector<float> result(values.size());
  for (int64_t i = 0; i < std::ssize(values); ++i) {
    const int64_t sample = i / count, c = i % count / pixels, p = i % pixels;
    const auto memory = static_cast<size_t>(sample * count + p * channels + c), onnx = static_cast<size_t>(i);
    (to_memory ? result[memory] : result[onnx]) = to_memory ? values[onnx] : values[memory];
  }
  return result;
}

inline std::vector<float> arena_of(const model::Graph& graph, uint64_t seed = 5) {
  std::vector<float> arena(static_cast<size_t>(graph.layout.elements()));
  model::initialise(graph, seed, 0, static_cast<int>(graph.layout.tensors().size()), arena);
  return arena;
}

/// Scores of inference, of the network's inputs in order.
inline std::vector<float> run_inputs(const model::Graph& graph, const std::vector<float>& arena,
                                     const std::vector<std::vector<float>>& inputs) {
  const int64_t n = std::ssize(inputs.front()) / element_count(graph.input_shape());
  const std::vector<int64_t> sizes{n};
  ops::prepare_compute_thread();
  model::Executor executor(graph, 5, {}, sizes);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<float> input = reordered(inputs[i], graph.values[i].shape, true);
    std::copy(input.begin(), input.end(), executor.input(static_cast<int>(i), n, false).begin());
  }
  const std::vector<int64_t> ids(static_cast<size_t>(n), 0);
  const auto scores = executor.forward(n, false, arena.data(), ids, 0);
  const Shape& shape = graph.values[static_cast<size_t>(graph.nodes.back().output)].shape;
  return reordered({scores.begin(), scores.end()}, shape, false);
}

inline std::vector<float> run(const model::Graph& graph, const std::vector<float>& arena,
                              const std::vector<float>& x) {
  return run_inputs(graph, arena, {x});
}

/// A model of one input "x" and one output "y".
class ModelText {
 public:
  explicit ModelText(const Shape& input, int64_t opset = 17) {
    model_.set_ir_version(8);
    auto& version = *model_.add_opset_import();
    version.set_domain("");
    version.set_version(opset);
    add_input("x", input);
    model_.mutable_graph()->add_output()->set_name("y");
  }
  /// The batch is free.
  ModelText& add_input(const std::string& name, const Shape& shape, bool batch = true) {
    auto& input = *model_.mutable_graph()->add_input();
    input.set_name(name);
    auto& dimensions = *input.mutable_type()->mutable_tensor_type()->mutable_shape();
    if (batch) dimensions.add_dim()->set_dim_param("N");
    for (const int64_t size : shape) dimensions.add_dim()->set_dim_value(size);
    return *this;
  }
  ModelText& node(const std::string& type, const std::vector<std::string>& inputs, const std::string& output,
                  const ops::Attributes& attributes = {}) {
    messages::NodeProto& node = *model_.mutable_graph()->add_node();
    node.set_op_type(type);
    node.set_name(type + "_" + output);
    for (const std::string& input : inputs) node.add_input(input);
    node.add_output(output);
    for (const auto& [name, value] : attributes) write_attribute(name, value, node);
    return *this;
  }
  /// 1, 2, 3, ... in tenths, of alternating signs.
  ModelText& weights(const std::string& name, const Shape& shape) {
    std::vector<float> values;
    for (int64_t i = 0; i < element_count(shape); ++i)
      values.push_back(static_cast<float>((i % 2 ? -1 : 1) * (i % 17 + 1)) / 10);
    return floats(name, shape, values);
  }
  ModelText& floats(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    write_floats(name, shape, values.data(), *model_.mutable_graph()->add_initializer());
    return *this;
  }
  ModelText& integers(const std::string& name, const std::vector<int64_t>& values) {
    write_integers(name, {std::ssize(values)}, values, *model_.mutable_graph()->add_initializer());
    return *this;
  }
  messages::ModelProto& message() { return model_; }
  messages::TensorShapeProto& declared_shape() {  ///< of the first input
    return *model_.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  }
  messages::NodeProto& last() {
    return *model_.mutable_graph()->mutable_node(model_.graph().node_size() - 1);
  }
  model::Graph import(const Shape& data, bool initialise = false,
                      const std::vector<std::string>& frozen = {}) const {
    return import_network(model_.SerializeAsString(),
                          {"net.onnx", {"deck.toml", 7, 8}, data, 0.25, initialise, frozen});
  }
  model::Graph import_of(const std::vector<model::NamedShape>& data) const {
    ImportSpec spec{"net.onnx", {"deck.toml", 7, 8}, data.front().shape};
    spec.inputs = data;
    return import_network(model_.SerializeAsString(), spec);
  }
  void refuse_of(const std::vector<model::NamedShape>& data, const std::vector<std::string>& pieces) const {
    expect_error_of([&] { import_of(data); }, Exit::deck, pieces);
  }
  void refuse(const Shape& data, const std::vector<std::string>& pieces, Exit code = Exit::deck) const {
    expect_error_of([&] { import(data); }, code, pieces);
  }

 private:
  messages::ModelProto model_;
};

/// The nodes' operators in order.
inline std::vector<std::string> types_of(const model::Graph& graph) {
  std::vector<std::string> types;
  for (const model::Node& node : graph.nodes) types.push_back(node.type);
  return types;
}

inline std::vector<float> counted(int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i % 23 - 11) / 8);
  return values;
}

/// What the network gives for x, or for counted().
inline std::vector<float> computed(const ModelText& text, const Shape& shape, const std::vector<float>& x) {
  const model::Graph graph = text.import(shape);
  return run(graph, arena_of(graph), x);
}
inline std::vector<float> computed(const ModelText& text, const Shape& shape) {
  return computed(text, shape, counted(element_count(shape)));
}

/// `value`'s dimension number `axis`, as traced PyTorch asks for it, as a list of one.
inline void ask(ModelText& text, const std::string& value, int64_t axis, const std::string& name) {
  text.integers(name + ".axis", {axis})
      .integers(name + ".zero", {0})
      .node("Shape", {value}, name + ".shape")
      .node("Gather", {name + ".shape", name + ".axis"}, name);
}

inline void expect_near(const std::vector<float>& a, const std::vector<float>& b, float tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance * (1 + std::abs(b[i]))) << i;
}

}  // namespace lepton::onnx
