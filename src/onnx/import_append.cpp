// SPDX-License-Identifier: Apache-2.0
// How a node of ONNX's becomes one of ours: axes are counted as our dimensions are, and values of a broadcast
// get as many dimensions as the largest. Operators that take samples one by one are refused where the file
// has the batch elsewhere. See importer.h; called by the rules.
#include <algorithm>
#include <set>

#include "onnx/importer.h"
#include "onnx/slots.h"
#include "ops/table.h"

namespace lepton::onnx {

namespace {

/// Those that do not say by an axis what is a sample and what a channel.
bool wants_samples_first(const std::string& type) {
  static const std::set<std::string> all = {"Attention",
                                            "AveragePool",
                                            "BatchNormalization",
                                            "Conv",
                                            "ConvTranspose",
                                            "Expand",
                                            "Flatten",
                                            "GRU",
                                            "GlobalAveragePool",
                                            "GlobalMaxPool",
                                            "GroupNormalization",
                                            "InstanceNormalization",
                                            "LSTM",
                                            "MaxPool",
                                            "Pad",
                                            "RNN",
                                            "Resize",
                                            "SparseMatMul"};
  return all.contains(type);
}

/// Element by element, or rows of a table.
bool works_on_single(const std::string& type) {
  static const std::set<std::string> functions = {
      "Abs",    "Ceil", "Floor", "Sign",    "Clip",        "Dropout",   "Elu",        "Erf", "Exp",
      "Gather", "Gelu", "Log",   "Mish",    "HardSigmoid", "LeakyRelu", "Neg",        "Not", "Relu",
      "Selu",   "Sqrt", "Swish", "Sigmoid", "Softplus",    "Softsign",  "Reciprocal", "Tanh"};
  return broadcasts(type) || functions.contains(type);
}

/// From which axis on the operator computes with whole vectors or matrices, in which there must be no batch.
int64_t first_inner_axis(const std::string& type, const ops::Attributes& attributes, int64_t rank) {
  if (type == "Gemm") return rank - 1;
  if (type == "MatMul") return rank - 2;
  if (type != "LayerNormalization" && type != "RMSNormalization") return rank;
  const int64_t axis = ops::int_attribute(attributes, "axis", -1);
  return axis < 0 ? axis + rank : axis;
}

}  // namespace

bool broadcasts(const std::string& type) {
  static const std::set<std::string> all = {"Add", "Sub",   "Mul",   "Div",   "Pow",     "Min",
                                            "Max", "Where", "PRelu", "Equal", "Greater", "Less"};
  return all.contains(type);
}

int64_t Importer::own_axis(const Value& value, int64_t axis) const {
  if (axis < 0) axis += rank(value);
  if (axis < value.batch_axis) return axis + 1;
  if (axis > value.batch_axis) return axis + value.before + value.behind;
  require_import(!value.joined(), "it works along a dimension that joins the batch with others");
  return 0;
}

void Importer::move_axes(const std::string& type, const Value& value, ops::Attributes& attributes) const {
  if (value.plain()) return;
  require_import(!wants_samples_first(type), "the batch is not the first dimension of its input");
  require_import(value.batch_axis < first_inner_axis(type, attributes, rank(value)),
                 "it computes across the samples of the batch");
  for (const char* name : {"axis", "axes"}) {
    const auto found = attributes.find(name);
    if (found == attributes.end()) continue;
    if (auto* axis = std::get_if<int64_t>(&found->second)) *axis = own_axis(value, *axis);
    if (auto* axes = std::get_if<std::vector<int64_t>>(&found->second))
      for (int64_t& one : *axes) one = own_axis(value, one);
  }
}

/// Values of fewer dimensions get more of 1 in front, as broadcasting has it.
void Importer::align(const std::string& type, const std::string& name, std::vector<Value>& values) {
  if (!broadcasts(type) && type != "MatMul") return;
  int64_t most = 0;
  for (const Value& value : values) most = std::max(most, rank(value));
  for (size_t i = 0; i < values.size(); ++i) {
    Value& value = values[i];
    const int64_t missing = most - rank(value);
    // The batch of the others stands where this one has a dimension of 1 then.
    if (missing == 0 || value.batch_axis + missing != values[i == 0 ? 1 : 0].batch_axis) continue;
    Shape own = value.single ? Shape{} : shape(value);
    own.insert(own.begin(), static_cast<size_t>(missing), 1);
    value = reshaped(name + "." + std::to_string(i) + ".aligned", value, own);
    value.batch_axis += missing;
    value.single = false;
  }
}

Value Importer::append(const std::string& type, const std::string& name, Operands operands) {
  const ops::OperatorRow* row = ops::find_operator(type);
  require_import(row != nullptr, "Lepton has no operator " + type);
  require_import(row->takes(operands.values.size()), "Lepton's " + type + " does not take " +
                                                         std::to_string(operands.values.size()) +
                                                         " inputs that depend on the network's input");
  align(type, name, operands.values);
  const Value first = operands.values.front();
  require_import(!first.single || works_on_single(type), "it computes across the samples of the batch");
  const size_t lengths = place_of_lengths(type, operands.values.size());
  std::vector<int> inputs;
  for (const Value& one : operands.values) {
    const bool like_first =
        rank(one) == rank(first) || (lengths > 0 && inputs.size() == lengths && first.plain());
    require_import(one.batch_axis == first.batch_axis && like_first && one.before == first.before &&
                       one.behind == first.behind,
                   "its inputs have their batch dimension at different places");
    inputs.push_back(one.index);
  }
  move_axes(type, first, operands.attributes);
  const Value result =
      first.with(builder_.add_node(type, name, std::move(operands.attributes), std::move(inputs),
                                   std::move(operands.parameters), spec_.position));
  require_import(first.plain() || rank(result) == rank(first),
                 "it changes the number of dimensions where the batch is not the first one");
  return result;
}

Value Importer::reshaped(const std::string& name, const Value& value, const Shape& wanted) {
  if (shape(value) == wanted) return value;
  Operands operands;
  operands.attributes["shape"] = wanted;
  operands.values = {{value.index}};
  return value.with(append("Reshape", name, std::move(operands)).index);
}

}  // namespace lepton::onnx
