// SPDX-License-Identifier: Apache-2.0
// Rules for operators that are more than a row of the table: those that vanish (casts), those whose weights
// lie otherwise (MatMul and Gemm: Lepton's are [out, in]); what becomes several nodes is in
// import_composed.cpp, what changes shapes in import_shapes.cpp. Called by the importer.
#include <algorithm>
#include <map>
#include <set>

#include "onnx/fold.h"
#include "onnx/import_composed.h"
#include "onnx/import_shapes.h"
#include "onnx/importer.h"
#include "onnx/slots.h"
#include "ops/pool.h"
#include "ops/table.h"

namespace lepton::onnx {

namespace {

using messages::NodeProto;

void identity_rule(Importer& importer, const ImportNode& node) {
  importer.give(node, 0, importer.required_value(node, 0));
}

/// Nothing but rows of tables, or lengths, is taken by these numbers, which are whole then.
bool only_whole_numbers(const Importer& importer, const std::string& name) {
  static const std::set<std::string> same = {"Cast",    "Flatten",   "Identity", "Reshape",
                                             "Squeeze", "Transpose", "Unsqueeze"};
  const auto consumers = importer.consumers(name);
  return !consumers.empty() && std::all_of(consumers.begin(), consumers.end(), [&](const NodeProto* next) {
    if (next->op_type() == "Gather") return next->input(0) != name;
    if (find_import_rule(next->op_type()) == recurrent_rule)
      return std::find(next->input().begin(), next->input().end(), name) - next->input().begin() == 4;
    const bool truth = next->op_type() == "Cast" && node_int(*next, "to", 0) == messages::TensorProto::BOOL;
    return same.contains(next->op_type()) && !truth && next->output_size() > 0 && next->input(0) == name &&
           only_whole_numbers(importer, next->output(0));
  });
}

/// What takes it asks by itself whether it is 0.
bool only_conditions(const Importer& importer, const std::string& name) {
  const auto consumers = importer.consumers(name);
  return !consumers.empty() && std::all_of(consumers.begin(), consumers.end(), [&](const NodeProto* next) {
    const bool once = std::count(next->input().begin(), next->input().end(), name) == 1;
    return (next->op_type() == "Not" || next->op_type() == "Where") && once && next->input(0) == name;
  });
}

bool is_truth(const Importer& importer, const std::string& name) {
  static const std::set<std::string> all = {
      "And", "Equal", "Greater", "GreaterOrEqual", "IsNaN", "Less", "LessOrEqual", "Not", "Or"};
  const NodeProto* producer = importer.producer(name);
  return producer != nullptr && all.contains(producer->op_type());
}

void cast_rule(Importer& importer, const ImportNode& node) {
  using Type = messages::TensorProto;
  const Value& value = importer.required_value(node, 0);
  const int64_t to = node_int(node.proto, "to", 0);
  const bool floating = is_floating_type(to);
  if (to == Type::BOOL) {
    if (only_conditions(importer, node.proto.output(0))) return importer.give(node, 0, value);
    const Value none = importer.append("Not", node.name + ".not", {{}, {value}, {}});
    return importer.give(node, 0, importer.append("Not", node.name, {{}, {none}, {}}));
  }
  if (is_truth(importer, node.proto.input(0))) return importer.give(node, 0, value);
  if (!floating && only_whole_numbers(importer, node.proto.output(0))) return importer.give(node, 0, value);
  require_import(floating || importer.is_network_input(value), "it rounds what the network computes");
  require_import(floating || importer.is_integer_input(value),
                 "it rounds an input that the file does not declare to be integers");
  importer.give(node, 0, value);
}

/// Whether a value has the file's integers or truth values: an input's, and what is made of them.
bool is_of_integers(const Importer& importer, const std::string& name) {
  static const std::set<std::string> keep = {"Add", "Cast",      "Gather",   "Identity", "Max",
                                             "Min", "Mul",       "Reshape",  "Slice",    "Squeeze",
                                             "Sub", "Transpose", "Unsqueeze"};
  const Known* known = importer.known(name);
  const NodeProto* producer = importer.producer(name);
  if (producer == nullptr) {
    const Value* value = known == nullptr ? nullptr : std::get_if<Value>(known);
    return value != nullptr && importer.is_integer_input(*value);
  }
  if (producer->op_type() == "Cast") return !is_floating_type(node_int(*producer, "to", 0));
  return is_truth(importer, name) ||
         (keep.contains(producer->op_type()) && is_of_integers(importer, producer->input(0)));
}

/// The type of the second input, which is a value of the network or what meets one.
void cast_like_rule(Importer& importer, const ImportNode& node) {
  const bool floating = importer.value(node, 1) != nullptr ? !is_of_integers(importer, node.proto.input(1))
                                                           : importer.required(node, 1).floating;
  const Value* value = importer.value(node, 0);
  if (value == nullptr) return importer.give(node, 0, cast(importer.required(node, 0), floating));
  require_import(floating || (importer.is_integer_input(*value) && !is_truth(importer, node.proto.input(1))),
                 "it rounds what the network computes");
  importer.give(node, 0, *value);
}

void dropout_rule(Importer& importer, const ImportNode& node) {
  importer.require_one_output(node);
  Operands operands = importer.operands(node);
  operands.attributes.erase("training_mode");
  operands.attributes.erase("seed");
  importer.give(node, 0, importer.append("Dropout", node.name, std::move(operands)));
}

void batch_norm_rule(Importer& importer, const ImportNode& node) {
  importer.require_one_output(node);
  ops::Attributes attributes = importer.attributes(node);
  attributes.erase("training_mode");
  const double momentum = ops::float_attribute(attributes, "momentum", shortest(0.9F));
  attributes["momentum"] = momentum;
  require_import(importer.set_statistics_momentum(momentum),
                 "its momentum is not that of the BatchNormalization before it: a network has one");
  const bool frozen = !importer.learns(node, 3, importer.required(node, 3));
  require_import(frozen != importer.learns(node, 4, importer.required(node, 4)),
                 "its running mean and variance are frozen both, or none of them");
  if (frozen) attributes["training_mode"] = int64_t{0};  // by the running statistics, which stay
  Operands operands{std::move(attributes), {importer.required_value(node, 0)}, {}};
  for (int i = 1; i <= 4; ++i) {
    const Constant& constant = importer.required(node, i);
    Role role = importer.role_of(node, i, constant.shape);
    role.statistic = i > 2;
    if (i == 4) role.initialiser.kind = model::Initialiser::Kind::ones;
    operands.parameters.push_back(importer.add_parameter(node, i, constant, role));
  }
  importer.give(node, 0, importer.append("BatchNormalization", node.name, std::move(operands)));
}

/// Lepton's Gemm: weights [out, in]. `by_rows`: the file has them so. `factor`: of the product.
int add_weights(Importer& importer, const ImportNode& node, bool by_rows, float factor = 1) {
  const Constant& weights = importer.required(node, 1);
  require_import(weights.shape.size() == 2, "its weights have the shape " + shape_text(weights.shape));
  Shape shape = weights.shape;
  if (!by_rows) std::swap(shape[0], shape[1]);
  Role role = importer.role_of(node, 1, shape);
  role.turned = !by_rows;
  role.factor = factor;
  return importer.add_parameter(node, 1, weights, role);
}

/// Appended to `parameters`, which has the weights.
void add_bias(Importer& importer, const ImportNode& node, int number, const Constant& bias, int64_t outputs,
              std::vector<int>& parameters, float factor = 1) {
  if (bias.elements() == 1 && outputs > 1 && bias.floating) {  // the same for all; each learns by itself
    Constant each = bias;
    each.shape = {outputs};
    if (!bias.open) each.floats.assign(static_cast<size_t>(outputs), bias.floats.at(0));
    return add_bias(importer, node, number, each, outputs, parameters, factor);
  }
  const bool across = outputs == 1 || (!bias.shape.empty() && bias.shape.back() == outputs);
  require_import(bias.elements() == outputs && across, "its bias has the shape " + shape_text(bias.shape) +
                                                           " for " + std::to_string(outputs) + " outputs");
  Role role = importer.role_of(node, number, {outputs});
  role.factor = factor;
  role.beside = parameters.front();
  parameters.push_back(importer.add_parameter(node, number, bias, role));
}

/// An attribute that is taken away.
float taken_factor(ops::Attributes& attributes, const char* name) {
  const auto factor = static_cast<float>(ops::float_attribute(attributes, name, 1));
  attributes.erase(name);
  return factor;
}

/// alpha and beta become part of the weights and the bias.
void gemm_rule(Importer& importer, const ImportNode& node) {
  ops::Attributes attributes = importer.attributes(node);
  const float alpha = taken_factor(attributes, "alpha"), beta = taken_factor(attributes, "beta");
  const bool by_rows = ops::int_attribute(attributes, "transB", 0) != 0;
  attributes["transB"] = int64_t{1};
  Operands operands{std::move(attributes), {importer.required_value(node, 0)}, {}};
  operands.parameters = {add_weights(importer, node, by_rows, alpha)};
  const int64_t outputs = importer.required(node, 1).shape[by_rows ? 0 : 1];
  if (importer.input(node, 2) != nullptr)
    add_bias(importer, node, 2, importer.required(node, 2), outputs, operands.parameters, beta);
  importer.give(node, 0, importer.append("Gemm", node.name, std::move(operands)));
}

/// The bias that the only Add behind a product adds, if that is what it does.
struct BiasBehind {
  const Constant* bias = nullptr;
  const NodeProto* add = nullptr;
};
BiasBehind bias_behind(const Importer& importer, const ImportNode& node, int64_t outputs) {
  const NodeProto* next = importer.only_consumer(node);
  if (next == nullptr || next->op_type() != "Add" || next->input_size() != 2 || next->output_size() != 1)
    return {};
  const Known* known = importer.known(next->input(next->input(0) == node.proto.output(0) ? 1 : 0));
  const Constant* bias = known == nullptr ? nullptr : std::get_if<Constant>(known);
  const bool fits =
      bias != nullptr && bias->floating && !bias->origin.empty() && bias->shape == Shape{outputs};
  return fits ? BiasBehind{bias, next} : BiasBehind{};
}

/// On vectors, or rows of them, whatever else these are of.
Value append_gemm(Importer& importer, const ImportNode& node, Operands operands) {
  const Value value = operands.values.front();
  Shape own = importer.shape(value);
  if (own.size() <= 2) return importer.append("Gemm", node.name, std::move(operands));
  require_import(value.batch_axis < importer.rank(value) - 1, "it computes across the samples of the batch");
  const Shape rows = {element_count(own) / own.back(), own.back()};
  operands.values = {importer.reshaped(node.name + ".rows", {value.index}, rows)};
  const Value product = importer.append("Gemm", node.name, std::move(operands));
  own.back() = importer.shape(product).back();
  return value.with(importer.reshaped(node.name + ".whole", product, own).index);
}

/// With weights a dense layer; of two values by the table.
void matmul_rule(Importer& importer, const ImportNode& node) {
  if (importer.constant(node, 1) == nullptr || importer.required(node, 1).shape.size() != 2)
    return importer.add_by_table(node);
  const int64_t outputs = importer.required(node, 1).shape[1];
  Operands operands{{{"transB", int64_t{1}}}, {importer.required_value(node, 0)}, {}};
  operands.parameters = {add_weights(importer, node, false)};
  const BiasBehind behind = bias_behind(importer, node, outputs);
  if (behind.bias != nullptr) add_bias(importer, node, 2, *behind.bias, outputs, operands.parameters);
  const Value value = append_gemm(importer, node, std::move(operands));
  importer.give(node, 0, value);
  if (behind.add == nullptr) return;
  importer.give({*behind.add, "Add", node.name}, 0, value);
  importer.skip(*behind.add);
}

/// One window that is all of the input, and of more elements than Lepton's pools take.
bool is_global(const Importer& importer, const Operands& operands) {
  const Value& value = operands.values.front();
  const auto list = [&](const char* name) { return ops::ints_attribute(operands.attributes, name, {}); };
  const auto kernel = list("kernel_shape"), pads = list("pads"), dilations = list("dilations");
  const std::string padding = ops::string_attribute(operands.attributes, "auto_pad", "NOTSET");
  const Shape& own = importer.shape(value);
  return (padding == "NOTSET" || padding == "VALID") && value.plain() && kernel.size() + 1 == own.size() &&
         element_count(kernel) > ops::window_places_max &&
         std::equal(kernel.begin(), kernel.end(), own.begin() + 1) &&
         std::all_of(pads.begin(), pads.end(), [](int64_t pad) { return pad == 0; }) &&
         std::all_of(dilations.begin(), dilations.end(), [](int64_t d) { return d == 1; });
}

void pool_rule(Importer& importer, const ImportNode& node) {
  importer.require_one_output(node);
  Operands operands = importer.operands(node);
  if (is_global(importer, operands)) {
    operands.attributes.clear();
    return importer.give(node, 0, importer.append("Global" + node.type, node.name, std::move(operands)));
  }
  operands.attributes.erase("storage_order");  // of indices, which nobody takes
  importer.give(node, 0, importer.append(node.type, node.name, std::move(operands)));
}

}  // namespace

ImportRule find_import_rule(const std::string& type) {
  static const std::map<std::string, ImportRule> table = {
      {"And", logic_rule},
      {"AveragePool", pool_rule},
      {"BatchNormalization", batch_norm_rule},
      {"Cast", cast_rule},
      {"CastLike", cast_like_rule},
      {"Concat", concat_rule},
      {"DepthToSpace", depth_to_space_rule},
      {"Dropout", dropout_rule},
      {"Erfc", erfc_rule},
      {"Expand", expand_rule},
      {"Flatten", flatten_rule},
      {"GRU", recurrent_rule},
      {"Gather", gather_rule},
      {"GatherND", gather_nd_rule},
      {"Gemm", gemm_rule},
      {"GreaterOrEqual", logic_rule},
      {"GroupNormalization", group_norm_rule},
      {"HardSwish", hard_swish_rule},
      {"Identity", identity_rule},
      {"InstanceNormalization", instance_norm_rule},
      {"IsNaN", is_nan_rule},
      {"LSTM", recurrent_rule},
      {"LessOrEqual", logic_rule},
      {"MatMul", matmul_rule},
      {"MaxPool", pool_rule},
      {"Or", logic_rule},
      {"RNN", recurrent_rule},
      {"ReduceL2", reduce_l2_rule},
      {"ReduceMax", reduce_rule},
      {"ReduceMean", reduce_rule},
      {"ReduceMin", reduce_min_rule},
      {"ReduceSum", reduce_rule},
      {"Reshape", reshape_rule},
      {"Resize", resize_rule},
      {"SequenceAt", sequence_at_rule},
      {"Shape", shape_rule},
      {"Size", size_rule},
      {"Slice", slice_rule},
      {"Split", split_rule},
      {"SplitToSequence", split_to_sequence_rule},
      {"Squeeze", squeeze_rule},
      {"Sum", sum_rule},
      {"Tile", tile_rule},
      {"Transpose", transpose_rule},
      {"Unsqueeze", unsqueeze_rule},
  };
  const auto found = table.find(type);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace lepton::onnx
