// SPDX-License-Identifier: Apache-2.0
// Writing a graph as an ONNX model; see the header. Most nodes go over as they are: values, then parameters,
// then attributes that ONNX has as inputs (slots). The others have a rule here.
#include "onnx/export.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "onnx/constant.h"
#include "onnx/export_functions.h"
#include "onnx/exporter.h"
#include "onnx/model_file.h"
#include "onnx/slots.h"

namespace lepton::onnx {

namespace {

using messages::NodeProto;
using model::Node;
using Names = Exporter::Names;

}  // namespace

std::string Exporter::unique(const std::string& wish) {
  std::string name = wish;
  for (int i = 2; !taken_.insert(name).second; ++i) name = wish + "_" + std::to_string(i);
  return name;
}

void Exporter::write_head() {
  // The format in which functions exist; newer opsets came with newer ones.
  model_.set_ir_version(spec_.opset >= 21 ? 10 : spec_.opset >= 19 ? 9 : 8);
  model_.set_producer_name("lepton");
  model_.set_producer_version(spec_.version);
  onnx_.set_name("lepton");
  auto& opset = *model_.add_opset_import();
  opset.set_domain("");
  opset.set_version(spec_.opset);
}

/// Where the operator has this parameter.
static int parameter_input(const Node& node, size_t parameter) {
  const auto places = ops::ints_attribute(node.attributes, "parameter_at", {});
  if (!places.empty()) return static_cast<int>(places[parameter]);
  const bool first = ops::int_attribute(node.attributes, "parameter_first", 0) != 0;
  return static_cast<int>((first ? 0 : node.inputs.size()) + parameter);
}

/// Frozen numbers of formulas alone, c * x say, which as an initializer would learn in what is imported.
static bool is_of_formulas(const model::Graph& graph, int tensor) {
  const ArenaTensor& numbers = graph.layout.tensors()[static_cast<size_t>(tensor)];
  if (!numbers.frozen || element_count(numbers.shape) == 1) return false;
  for (const Node& node : graph.nodes)
    for (size_t i = 0; i < node.parameters.size(); ++i)
      if (node.parameters[i] == tensor && is_parameter_slot(node.type, parameter_input(node, i)))
        return false;
  return true;
}

void Exporter::write_tensors() {
  for (int i = 0; i < std::ssize(graph_.layout.tensors()); ++i) {
    const ArenaTensor& tensor = graph_.layout.tensors()[static_cast<size_t>(i)];
    taken_.insert(tensor.name);
    const float* values = arena_.data() + tensor.offset;
    if (is_of_formulas(graph_, i)) {
      messages::AttributeProto& value = *emit("Constant", tensor.name, {}, tensor.name).add_attribute();
      value.set_name("value");
      value.set_type(messages::AttributeProto::TENSOR);
      write_floats("", tensor.shape, values, *value.mutable_t());
    } else {
      write_floats(tensor.name, tensor.shape, values, *onnx_.add_initializer());
    }
  }
}

static void declare(const std::string& name, const Shape& shape, bool integers,
                    messages::ValueInfoProto& value) {
  value.set_name(name);
  auto& tensor = *value.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(integers ? messages::TensorProto::INT64 : messages::TensorProto::FLOAT);
  tensor.mutable_shape()->add_dim()->set_dim_param("N");
  for (const int64_t dimension : shape) tensor.mutable_shape()->add_dim()->set_dim_value(dimension);
}

NodeProto& Exporter::emit(const std::string& type, const std::string& name, const Names& inputs,
                          const std::string& output, const ops::Attributes& attributes) {
  NodeProto& node = *onnx_.add_node();
  node.set_op_type(type);
  node.set_name(name);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  for (const auto& [key, value] : attributes) write_attribute(key, value, node);
  return node;
}

std::string Exporter::integers(const std::string& name, const std::vector<int64_t>& values, bool scalar) {
  const std::string own = unique(name);
  write_integers(own, scalar ? Shape{} : Shape{std::ssize(values)}, values, *onnx_.add_initializer());
  return own;
}

std::string Exporter::normalise(const std::string& input) {
  const std::string shift = unique("normalize.shift"), factor = unique("normalize.factor");
  write_floats(shift, spec_.normalised, spec_.shift.data(), *onnx_.add_initializer());
  write_floats(factor, spec_.normalised, spec_.factor.data(), *onnx_.add_initializer());
  const std::string centred = unique("normalize.centred"), normalised = unique("normalize.normalised");
  emit("Sub", "normalize.sub", {input, shift}, centred);
  emit("Mul", "normalize.mul", {centred, factor}, normalised);
  return normalised;
}

Names Exporter::operands(const Node& node) const {
  Names names;
  for (const int input : node.inputs) names.push_back(values_.at(input));
  for (size_t i = 0; i < node.parameters.size(); ++i) names.push_back(parameter(node, i));
  if (ops::int_attribute(node.attributes, "parameter_first", 0) != 0)
    std::rotate(names.begin(), names.begin() + static_cast<int64_t>(node.inputs.size()), names.end());
  const auto places = ops::ints_attribute(node.attributes, "parameter_at", {});  // ascending
  for (size_t i = 0; i < places.size(); ++i) {
    const auto from = names.begin() + static_cast<int64_t>(node.inputs.size() + i);
    std::rotate(names.begin() + places[i], from, from + 1);
  }
  return names;
}

/// Those whose form in ONNX is another one than ours, which nothing here writes yet.
static void refuse_others(const model::Graph& graph) {
  static const std::set<std::string> others = {"SparseMatMul"};
  std::string found;
  for (const Node& node : graph.nodes)
    if (others.contains(node.type)) found += (found.empty() ? "" : ", ") + node.name + " (" + node.type + ")";
  REQUIRE(found.empty(), Exit::deck, "", "the network has nodes that cannot be exported: " + found,
          "Its parameters are in model.safetensors.");
}

Exported Exporter::run() {
  REQUIRE(spec_.opset >= opset_least && spec_.opset <= opset_most, Exit::usage, "--opset",
          std::to_string(spec_.opset) + " is not an opset that Lepton writes",
          "It writes " + std::to_string(opset_least) + " to " + std::to_string(opset_most) + ".");
  refuse_others(graph_);
  REQUIRE(spec_.shift.empty() || graph_.inputs.size() == 1, Exit::usage, "--normalize",
          "the network has several inputs, which are normalised each by itself", "Leave it out.");
  write_head();
  write_tensors();
  find_integers();
  for (const int value : graph_.inputs) {
    const std::string input = unique(graph_.values[static_cast<size_t>(value)].name);
    if (!spec_.shift.empty()) integers_.erase(value);
    // Lengths have no dimension of their own in ONNX.
    declare(input, is_lengths(value) ? Shape{} : shape(value), integers_.contains(value), *onnx_.add_input());
    values_[value] = spec_.shift.empty() ? input : normalise(input);
  }
  const auto nodes = std::span(graph_.nodes);  // several outputs go over as they are
  for (const Node& node : nodes.first(nodes.size() - graph_.joining_nodes)) export_node(node);
  std::vector<int> outputs;
  for (const model::Head& head : graph_.heads)
    if (std::ranges::find(outputs, head.value) == outputs.end()) outputs.push_back(head.value);
  if (outputs.empty()) outputs.push_back(graph_.nodes.back().output);
  for (const int output : outputs) declare(values_.at(output), shape(output), false, *onnx_.add_output());
  REQUIRE(model_.ByteSizeLong() < INT32_MAX, Exit::deck, "", "an ONNX model has at most 2 GiB", "");
  return {model_.SerializeAsString(), notes_};
}

void Exporter::export_node(const Node& node) {
  if (node.type == "Identity") {  // of one layout to another
    values_[node.output] = values_.at(node.inputs.front());
    const auto truth = truths_.find(node.inputs.front());
    if (truth != truths_.end()) truths_[node.output] = truth->second;
    return;
  }
  values_[node.output] = unique(node.name);
  const bool ends = node.type.starts_with("Global") && node.inputs.size() > 1;  // at lengths
  if (ends || operator_since(node.type) > spec_.opset) return by_function(node);
  const Rule rule = find_rule(node.type);
  if (rule != nullptr)
    (this->*rule)(node);
  else
    by_table(node);
}

Exporter::Rule Exporter::find_rule(const std::string& type) {
  static const std::map<std::string, Rule> table = {
      {"AveragePool", &Exporter::pool}, {"BatchNormalization", &Exporter::batch_norm},
      {"Expand", &Exporter::expand},    {"Gather", &Exporter::gather},
      {"Gemm", &Exporter::gemm},        {"Reshape", &Exporter::reshape},
      {"GRU", &Exporter::recurrent},    {"LSTM", &Exporter::recurrent},
      {"RNN", &Exporter::recurrent},    {"Resize", &Exporter::resize},
      {"Equal", &Exporter::truth},      {"Greater", &Exporter::truth},
      {"Less", &Exporter::truth},       {"Not", &Exporter::truth},
      {"Where", &Exporter::where},      {"Pad", &Exporter::pad},
  };
  const auto found = table.find(type);
  return found == table.end() ? nullptr : found->second;
}

/// Attributes that this opset has as inputs.
void Exporter::slots(const Node& node, ops::Attributes& attributes, Names& inputs) {
  for (const AttributeSlot& slot : attribute_slots()) {
    const auto given = attributes.find(slot.name);
    if (slot.type != node.type || slot.since > spec_.opset || given == attributes.end()) continue;
    const auto at = static_cast<size_t>(slot.input);
    inputs.resize(std::max(inputs.size(), at));
    const std::string name = node.name + "." + slot.name;
    if (slot.kind == AttributeSlot::Kind::integers) {
      inputs.push_back(integers(name, std::get<std::vector<int64_t>>(given->second)));
    } else if (slot.kind == AttributeSlot::Kind::integer) {
      inputs.push_back(integers(name, {std::get<int64_t>(given->second)}, true));
    } else {
      const auto value = static_cast<float>(ops::float_attribute(attributes, slot.name, 0));
      inputs.push_back(unique(name));
      write_floats(inputs.back(), {}, &value, *onnx_.add_initializer());
    }
    attributes.erase(given);
  }
}

void Exporter::by_table(const Node& node) {
  ops::Attributes attributes = node.attributes;
  Names inputs = operands(node);
  attributes.erase("parameter_first");
  attributes.erase("parameter_at");
  slots(node, attributes, inputs);
  emit(node.type, node.name, inputs, values_.at(node.output), attributes);
}

void Exporter::by_function(const Node& node) {
  FunctionSpec spec{node.type, node.attributes, {}, node.inputs.size() + node.parameters.size(), spec_.opset};
  for (const int input : node.inputs) spec.inputs.push_back(shape(input));
  messages::FunctionProto function;
  const bool written = write_function(spec, function);
  std::string& name = functions_[node.type + function.SerializeAsString() + std::to_string(spec.operands)];
  if (name.empty()) {
    const auto same = std::count_if(model_.functions().begin(), model_.functions().end(), [&](const auto& f) {
      return f.name() == node.type || f.name().starts_with(node.type + "_");
    });
    name = node.type + (same == 0 ? "" : "_" + std::to_string(same + 1));
    function.set_name(name);
    if (written) *model_.add_functions() = function;
  }
  emit(name, node.name, function_operands(node), values_.at(node.output), node.attributes)
      .set_domain("lepton");
  if (model_.opset_import_size() == 1) {
    auto& own = *model_.add_opset_import();
    own.set_domain("lepton");
    own.set_version(1);
  }
  if (noted_.insert(node.type).second)
    notes_.push_back(node.type + " is no operator of ONNX's in opset " + std::to_string(spec_.opset) +
                     (written ? ": it is written as a function of the domain lepton, made of those that are."
                              : ": it is written in the domain lepton, which Lepton alone reads."));
}

/// On vectors ONNX's Gemm; on rows of sequences a MatMul, whose weights are the other way round.
void Exporter::gemm(const Node& node) {
  const Names names = operands(node);
  const std::string& output = values_.at(node.output);
  if (shape(node.inputs.front()).size() == 1) {
    emit("Gemm", node.name, names, output, {{"transB", int64_t{1}}});
    return;
  }
  const std::string turned = unique(node.name + ".weight_turned");
  const bool bias = names.size() > 2;
  const std::string product = bias ? unique(node.name + ".product") : output;
  emit("Transpose", turned, {names[1]}, turned, {{"perm", std::vector<int64_t>{1, 0}}});
  emit("MatMul", node.name, {names[0], turned}, product);
  if (bias) emit("Add", node.name + ".bias_added", {product, names[2]}, output);
}

/// 0 keeps the batch dimension.
void Exporter::reshape(const Node& node) {
  Shape wanted = shape(node.output);
  wanted.insert(wanted.begin(), 0);
  emit("Reshape", node.name, {values_.at(node.inputs.front()), integers(node.name + ".shape", wanted)},
       values_.at(node.output));
}

/// 1 keeps the batch dimension.
void Exporter::expand(const Node& node) {
  Shape wanted = shape(node.output);
  wanted.insert(wanted.begin(), 1);
  emit("Expand", node.name, {values_.at(node.inputs.front()), integers(node.name + ".shape", wanted)},
       values_.at(node.output));
}

/// Lepton computes with float32 throughout, ONNX takes rows by integers.
void Exporter::gather(const Node& node) {
  std::string numbers = values_.at(node.inputs.front());
  if (!integers_.contains(node.inputs.front()))
    numbers = cast(numbers, messages::TensorProto::INT64, node.name + ".numbers");
  emit("Gather", node.name, {parameter(node, 0), numbers}, values_.at(node.output), node.attributes);
}

void Exporter::batch_norm(const Node& node) {
  ops::Attributes attributes = node.attributes;
  attributes["momentum"] = graph_.statistics_momentum;
  attributes.erase("training_mode");  // of how it is trained; since opset 14
  emit("BatchNormalization", node.name, operands(node), values_.at(node.output), attributes);
}

/// Dilations came with opset 19.
void Exporter::pool(const Node& node) {
  ops::Attributes attributes = node.attributes;
  const auto dilations = ops::ints_attribute(attributes, "dilations", {});
  if (std::all_of(dilations.begin(), dilations.end(), [](int64_t d) { return d == 1; }))
    attributes.erase("dilations");
  REQUIRE(spec_.opset >= 19 || !attributes.contains("dilations"), Exit::deck, node.name,
          "AveragePool with dilations needs opset 19", "Give --opset 19.");
  emit("AveragePool", node.name, operands(node), values_.at(node.output), attributes);
}

Exported export_network(const model::Graph& graph, std::span<const float> arena, const ExportSpec& spec) {
  CHECK(arena.size() == static_cast<size_t>(graph.layout.elements()), "the whole arena");
  return Exporter(graph, arena, spec).run();
}

}  // namespace lepton::onnx
