// SPDX-License-Identifier: Apache-2.0
// Nodes whose form in ONNX is another one: recurrent layers, which have the steps in front there and a
// dimension for their directions, Resize, whose scales or sizes count the batch, and truth values, which are
// numbers in Lepton and a type of their own in ONNX. Also which inputs of the model are integers. See
// exporter.h.
#include <algorithm>

#include "onnx/constant.h"
#include "onnx/exporter.h"
#include "ops/recurrent_shape.h"
#include "ops/remap.h"

namespace lepton::onnx {

namespace {

using messages::NodeProto;
using model::Node;
using Names = Exporter::Names;
using List = std::vector<int64_t>;

bool takes_lengths(const Node& node, int value) {
  const size_t at = place_of_lengths(node.type, node.inputs.size());
  return at > 0 && std::ranges::count(node.inputs, value) == 1 && node.inputs[at] == value;
}

/// Operators that ask of their first operand alone whether it is 0.
bool asks_truth(const Node& node) {
  return node.type == "Not" || node.type == "Where";
}

/// The first operand is a value, not a parameter.
bool value_first(const Node& node) {
  const auto places = ops::ints_attribute(node.attributes, "parameter_at", {});
  return ops::int_attribute(node.attributes, "parameter_first", 0) == 0 &&
         (places.empty() || places.front() > 0);
}

ops::OpSpec op_spec(const model::Graph& graph, const Node& node) {
  ops::OpSpec spec;
  spec.type = node.type;
  spec.attributes = node.attributes;
  for (const int input : node.inputs) spec.inputs.push_back(graph.values[static_cast<size_t>(input)].shape);
  for (const int tensor : node.parameters)
    spec.parameters.push_back(graph.layout.tensors()[static_cast<size_t>(tensor)].shape);
  return spec;
}

}  // namespace

void Exporter::find_integers() {
  for (const int value : graph_.inputs) {
    bool any = false, all = true;
    for (const Node& node : graph_.nodes) {
      if (std::find(node.inputs.begin(), node.inputs.end(), value) == node.inputs.end()) continue;
      any = true;
      all = all && (node.type == "Gather" || takes_lengths(node, value));
    }
    if (any && all) integers_.insert(value);
  }
}

bool Exporter::is_lengths(int value) const {
  return integers_.contains(value) && shape(value) == Shape{1} &&
         std::any_of(graph_.nodes.begin(), graph_.nodes.end(),
                     [&](const Node& node) { return takes_lengths(node, value); });
}

std::string Exporter::cast(const std::string& value, int64_t type, const std::string& name) {
  const std::string own = unique(name);
  emit("Cast", own, {value}, own, {{"to", type}});
  return own;
}

/// As functions take them: float32, [N, 1].
Names Exporter::function_operands(const Node& node) {
  Names names = operands(node);
  const size_t at = place_of_lengths(node.type, node.inputs.size());
  if (at == 0) return names;
  if (!is_lengths(node.inputs[at])) {
    if (integers_.contains(node.inputs[at]))
      names[at] = cast(names[at], messages::TensorProto::FLOAT, node.name + ".mask_number");
    return names;
  }
  const std::string column = unique(node.name + ".length_column");
  emit("Unsqueeze", column, {names[at], integers(column + ".axis", {1})}, column);
  names[at] = cast(column, messages::TensorProto::FLOAT, node.name + ".length_number");
  return names;
}

/// As ONNX takes them: int32, [N].
std::string Exporter::lengths_of(const Node& node) {
  std::string lengths = values_.at(node.inputs[1]);
  if (!is_lengths(node.inputs[1])) {
    const std::string flat = unique(node.name + ".flat_lengths");
    emit("Reshape", flat, {lengths, integers(flat + ".shape", {-1})}, flat);
    lengths = flat;
  }
  return cast(lengths, messages::TensorProto::INT32, node.name + ".lengths");
}

void Exporter::recurrent(const Node& node) {
  const ops::RecurrentShape layer(op_spec(graph_, node));
  ops::Attributes attributes = node.attributes;
  attributes.erase("output");
  attributes["hidden_size"] = layer.units;
  const std::string steps_first = unique(node.name + ".steps_first");
  emit("Transpose", steps_first, {values_.at(node.inputs.front())}, steps_first, {{"perm", List{1, 0, 2}}});
  Names inputs = {steps_first, parameter(node, 0), parameter(node, 1), layer.bias ? parameter(node, 2) : ""};
  if (layer.lengths) inputs.push_back(lengths_of(node));
  while (inputs.back().empty()) inputs.pop_back();
  const std::string states = unique(node.name + (layer.sequence ? ".Y" : ".Y_h"));
  NodeProto& made = emit(node.type, node.name, inputs, layer.sequence ? states : "", attributes);
  if (!layer.sequence) made.add_output(states);
  // [T, D, N, H] or [D, N, H] to samples in front and directions side by side.
  const std::string samples_first = unique(node.name + ".samples_first");
  const List perm = layer.sequence ? List{2, 0, 1, 3} : List{1, 0, 2};
  emit("Transpose", samples_first, {states}, samples_first, {{"perm", perm}});
  List wanted = shape(node.output);
  wanted.insert(wanted.begin(), 0);
  emit("Reshape", samples_first + ".reshape", {samples_first, integers(node.name + ".shape", wanted)},
       values_.at(node.output));
}

/// Anything but Not and conditions takes it, or it is an output.
bool Exporter::needs_number(int value) const {
  bool taken = false;
  for (const Node& node : graph_.nodes) {
    const auto times = std::count(node.inputs.begin(), node.inputs.end(), value);
    if (times == 0) continue;
    taken = true;
    const bool asked = asks_truth(node) && value_first(node) && node.inputs.front() == value && times == 1;
    if (!asked && (node.type != "Identity" || needs_number(node.output))) return true;
  }
  const auto is_value = [&](const model::Head& head) { return head.value == value; };
  return !taken || std::ranges::any_of(graph_.heads, is_value);
}

/// The first operand, of this name, as a truth value.
std::string Exporter::condition(const Node& node, const std::string& operand) {
  const auto truth = value_first(node) ? truths_.find(node.inputs.front()) : truths_.end();
  return truth != truths_.end() ? truth->second
                                : cast(operand, messages::TensorProto::BOOL, node.name + ".condition");
}

/// As a number, 0 or 1, only where that is needed.
void Exporter::truth(const Node& node) {
  Names names = operands(node);
  if (asks_truth(node)) names.front() = condition(node, names.front());
  const bool number = needs_number(node.output);
  const std::string& output = values_.at(node.output);
  const std::string own = number ? unique(node.name + ".truth") : output;
  emit(node.type, node.name, names, own);
  truths_[node.output] = own;
  if (number)
    emit("Cast", unique(node.name + ".number"), {own}, output,
         {{"to", int64_t{messages::TensorProto::FLOAT}}});
}

void Exporter::where(const Node& node) {
  Names names = operands(node);
  names.front() = condition(node, names.front());
  emit("Where", node.name, names, values_.at(node.output));
}

/// The batch size as it is, and these sizes of a sample.
std::string Exporter::resized_extent(const Node& node, const List& sizes) {
  const std::string own = unique(node.name + ".own_sizes"), batch = unique(node.name + ".batch"),
                    all = unique(node.name + ".sizes");
  emit("Shape", own, {values_.at(node.inputs.front())}, own);
  emit("Slice", batch, {own, integers(batch + ".start", {0}), integers(batch + ".end", {1})}, batch);
  emit("Concat", all, {batch, integers(all + ".sample", sizes)}, all, {{"axis", int64_t{0}}});
  return all;
}

void Exporter::resize(const Node& node) {
  ops::Attributes attributes = node.attributes;
  std::vector<float> scales = {1};
  List sizes;
  for (const ops::AxisRule& rule : ops::axis_rules(op_spec(graph_, node))) {
    scales.push_back(rule.kind == ops::AxisKind::same ? 1.0F : static_cast<float>(rule.scale));
    sizes.push_back(rule.out);
  }
  Names inputs = {values_.at(node.inputs.front()), ""};
  if (attributes.contains("sizes")) {
    inputs.insert(inputs.end(), {"", resized_extent(node, sizes)});
  } else {
    inputs.push_back(unique(node.name + ".scales"));
    write_floats(inputs.back(), {std::ssize(scales)}, scales.data(), *onnx_.add_initializer());
  }
  for (const char* name : {"axes", "scales", "sizes"}) attributes.erase(name);
  emit("Resize", node.name, inputs, values_.at(node.output), attributes);
}

/// Of all dimensions, the batch's too: `axes` came with opset 18.
void Exporter::pad(const Node& node) {
  ops::Attributes attributes = node.attributes;
  const auto rank = std::ssize(shape(node.inputs.front())) + 1;
  const List given = ops::ints_attribute(attributes, "pads", {});
  List axes = ops::ints_attribute(attributes, "axes", {}), pads(static_cast<size_t>(2 * rank), 0);
  if (axes.empty())
    for (int64_t axis = 0; axis < rank; ++axis) axes.push_back(axis);
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<size_t>(axes[i] < 0 ? axes[i] + rank : axes[i]);
    pads[axis] = given[i];
    pads[axis + static_cast<size_t>(rank)] = given[i + axes.size()];
  }
  attributes.erase("axes");
  attributes["pads"] = pads;
  Names inputs = operands(node);
  slots(node, attributes, inputs);
  emit("Pad", node.name, inputs, values_.at(node.output), attributes);
}

}  // namespace lepton::onnx
