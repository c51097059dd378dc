// SPDX-License-Identifier: Apache-2.0
// Rules for operators that are more than a row of the table: those that vanish (shapes, casts, what moves
// only the batch), those whose weights lie otherwise (MatMul and Gemm: Lepton's are [out, in]), and those
// that become several nodes. Called by the importer.
#include <algorithm>
#include <map>
#include <numeric>

#include "onnx/fold.h"
#include "onnx/importer.h"
#include "onnx/slots.h"
#include "ops/table.h"

namespace lepton::onnx {

namespace {

using messages::NodeProto;
using List = std::vector<int64_t>;

std::vector<Count> dimensions(const Importer& importer, const Value& value) {
  std::vector<Count> counts;
  for (const int64_t dimension : importer.shape(value)) counts.push_back({dimension});
  counts.insert(counts.begin() + value.batch_axis, Count{1, true});
  return counts;
}

void shape_rule(Importer& importer, const ImportNode& node) {
  std::vector<Count> counts = dimensions(importer, importer.required_value(node, 0));
  const auto rank = std::ssize(counts);
  const auto place = [&](const char* name, int64_t otherwise) {
    const int64_t at = node_int(node.proto, name, otherwise);
    return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  const int64_t begin = place("start", 0), end = std::max(begin, place("end", rank));
  const std::vector<Count> part(counts.begin() + begin, counts.begin() + end);
  importer.give(node, 0, integer_constant({std::ssize(part)}, part));
}

void size_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  importer.give(node, 0, integer_constant({}, {{element_count(importer.shape(value)), true}}));
}

void identity_rule(Importer& importer, const ImportNode& node) {
  importer.give(node, 0, importer.required_value(node, 0));
}

void cast_rule(Importer& importer, const ImportNode& node) {
  using Type = messages::TensorProto;
  const Value& value = importer.required_value(node, 0);
  const int64_t to = node_int(node.proto, "to", 0);
  const bool floating =
      to == Type::FLOAT || to == Type::DOUBLE || to == Type::FLOAT16 || to == Type::BFLOAT16;
  // The data's numbers are whole where the network takes them as such.
  require_import(floating || importer.is_network_input(value), "it rounds what the network computes");
  importer.give(node, 0, value);
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

int add_bias(Importer& importer, const ImportNode& node, int number, const Constant& bias, int64_t outputs,
             float factor = 1) {
  if (bias.elements() == 1 && outputs > 1 && bias.floating) {  // the same for all; each learns by itself
    Constant each = bias;
    each.shape = {outputs};
    if (!bias.open) each.floats.assign(static_cast<size_t>(outputs), bias.floats.at(0));
    return add_bias(importer, node, number, each, outputs, factor);
  }
  require_import(bias.elements() == outputs, "its bias has the shape " + shape_text(bias.shape) + " for " +
                                                 std::to_string(outputs) + " outputs");
  Role role = importer.role_of(node, number, {outputs});
  role.factor = factor;
  return importer.add_parameter(node, number, bias, role);
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
    operands.parameters.push_back(add_bias(importer, node, 2, importer.required(node, 2), outputs, beta));
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

/// With weights a dense layer; of two values by the table.
void matmul_rule(Importer& importer, const ImportNode& node) {
  if (importer.constant(node, 1) == nullptr || importer.required(node, 1).shape.size() != 2)
    return importer.add_by_table(node);
  const int64_t outputs = importer.required(node, 1).shape[1];
  Operands operands{{{"transB", int64_t{1}}}, {importer.required_value(node, 0)}, {}};
  operands.parameters = {add_weights(importer, node, false)};
  const BiasBehind behind = bias_behind(importer, node, outputs);
  if (behind.bias != nullptr)
    operands.parameters.push_back(add_bias(importer, node, 2, *behind.bias, outputs));
  const Value value = importer.append("Gemm", node.name, std::move(operands));
  importer.give(node, 0, value);
  if (behind.add == nullptr) return;
  importer.give({*behind.add, "Add", node.name}, 0, value);
  importer.skip(*behind.add);
}

void flatten_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  const int64_t axis = node_int(node.proto, "axis", 1);
  require_import(value.batch_axis == 0 && (axis == 1 || axis == 1 - importer.rank(value)),
                 "it keeps more than the batch dimension apart");
  ops::Attributes attributes = importer.attributes(node);
  if (attributes.contains("axis")) attributes["axis"] = int64_t{1};
  importer.give(node, 0, importer.append("Flatten", node.name, {std::move(attributes), {value}, {}}));
}

/// Per sample; the batch dimension must stay by itself.
Shape sample_shape(const Importer& importer, const Value& value, const Constant& asked, bool zeros_count) {
  const std::vector<Count> before = dimensions(importer, value);
  const int64_t count = element_count(importer.shape(value));
  std::vector<Count> after = asked.integers;
  require_import(!asked.floating && value.batch_axis == 0 && !after.empty(),
                 "it mixes the batch with other dimensions");
  for (size_t d = 0; d < after.size(); ++d)
    if (after[d].number == 0 && !zeros_count && d < before.size()) after[d] = before[d];
  Shape shape;
  int64_t known = 1, open = 0;
  for (size_t d = 1; d < after.size(); ++d) {
    require_import(!after[d].of_batch, "it mixes the batch with other dimensions");
    shape.push_back(after[d].number);
    if (after[d].number == -1)
      ++open;
    else
      require_import(!__builtin_mul_overflow(known, after[d].number, &known), "its shape is too large");
  }
  // A fixed batch, as of files exported for one sample, stands for any.
  const bool batch_alone = after[0] == Count{1, true} || (!after[0].of_batch && (open > 0 || known == count));
  require_import(batch_alone && open <= 1 && known > 0 && count % known == 0 && (open > 0 || known == count),
                 "it mixes the batch with other dimensions, or its shape does not fit " +
                     shape_text(importer.shape(value)));
  for (int64_t& dimension : shape)
    if (dimension == -1) dimension = count / known;
  return shape;
}

void reshape_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  const bool zeros_count = node_int(node.proto, "allowzero", 0) != 0;
  const Shape shape = sample_shape(importer, value, importer.required(node, 1), zeros_count);
  require_import(!shape.empty(), "it leaves nothing but the batch dimension");
  importer.give(node, 0, importer.append("Reshape", node.name, {{{"shape", shape}}, {value}, {}}));
}

std::vector<int64_t> axes_of(Importer& importer, const ImportNode& node, int64_t rank) {
  std::vector<int64_t> axes;
  if (importer.input(node, 1) != nullptr) axes = importer.required(node, 1).numbers();
  for (int64_t& axis : axes) {
    if (axis < 0) axis += rank;
    require_import(axis >= 0 && axis < rank, "its axes do not fit");
  }
  std::sort(axes.begin(), axes.end());
  return axes;
}

void give_dimensions(Importer& importer, const ImportNode& node, const Value& value,
                     const std::vector<Count>& counts) {
  Shape shape;
  int64_t batch = -1;
  for (size_t d = 0; d < counts.size(); ++d) {
    if (counts[d].of_batch)
      batch = static_cast<int64_t>(d);
    else
      shape.push_back(counts[d].number);
  }
  require_import(batch >= 0 && !shape.empty(), "it leaves nothing but the batch dimension");
  Value result = importer.reshaped(node.name, value, shape);
  result.batch_axis = batch;
  importer.give(node, 0, result);
}

void squeeze_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  const std::vector<Count> before = dimensions(importer, value);
  const std::vector<int64_t> axes = axes_of(importer, node, std::ssize(before));
  std::vector<Count> after;
  for (size_t d = 0; d < before.size(); ++d) {
    const bool one = before[d] == Count{1};
    const bool named = std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(d));
    require_import(!named || one, "it removes a dimension that is not 1");
    if (!(axes.empty() ? one : named)) after.push_back(before[d]);
  }
  give_dimensions(importer, node, value, after);
}

void unsqueeze_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  std::vector<Count> counts = dimensions(importer, value);
  const auto added = importer.required(node, 1).elements();
  for (const int64_t axis : axes_of(importer, node, std::ssize(counts) + added))
    counts.insert(counts.begin() + axis, Count{1});
  give_dimensions(importer, node, value, counts);
}

/// A Transpose that moves the batch alone changes nothing but where it stands.
void transpose_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  const int64_t rank = importer.rank(value);
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.rbegin(), perm.rend(), 0);
  perm = ops::ints_attribute(importer.attributes(node), "perm", perm);
  std::vector<int64_t> own{0};
  int64_t batch = -1;
  for (size_t d = 0; d < perm.size(); ++d) {
    require_import(perm[d] >= 0 && perm[d] < rank && std::ssize(perm) == rank, "its perm does not fit");
    if (perm[d] == value.batch_axis)
      batch = static_cast<int64_t>(d);
    else
      own.push_back(perm[d] < value.batch_axis ? perm[d] + 1 : perm[d]);
  }
  require_import(batch >= 0 && std::ssize(own) == rank, "its perm is no permutation");
  Value result = value;
  if (!std::is_sorted(own.begin(), own.end()) || value.batch_axis == batch)
    result = importer.append("Transpose", node.name, {{{"perm", own}}, {{value.index, 0}}, {}});
  result.batch_axis = batch;
  importer.give(node, 0, result);
}

/// A table's rows by the network's numbers; or a part of a value by constant numbers, as a Slice.
void gather_rule(Importer& importer, const ImportNode& node) {
  const Value* value = importer.value(node, 0);
  if (value == nullptr) return importer.add_by_table(node);
  const Constant& indices = importer.required(node, 1);
  require_import(indices.elements() == 1 && indices.shape.size() <= 1,
                 "it gathers more than one index of what the network computes");
  const int64_t rank = importer.rank(*value);
  int64_t axis = node_int(node.proto, "axis", 0);
  if (axis < 0) axis += rank;
  std::vector<Count> counts = dimensions(importer, *value);
  require_import(axis >= 0 && axis < rank && axis != value->batch_axis, "it gathers samples of the batch");
  int64_t index = indices.numbers().front();
  if (index < 0) index += counts[static_cast<size_t>(axis)].number;
  const Value part = importer.append(
      "Slice", node.name + ".slice",
      {{{"starts", List{index}}, {"ends", List{index + 1}}, {"axes", List{axis}}, {"steps", List{1}}},
       {*value},
       {}});
  counts[static_cast<size_t>(axis)] = {1};
  if (indices.shape.empty()) counts.erase(counts.begin() + axis);
  give_dimensions(importer, node, part, counts);
}

void split_rule(Importer& importer, const ImportNode& node) {
  const Value& value = importer.required_value(node, 0);
  const int64_t rank = importer.rank(value);
  int64_t axis = node_int(node.proto, "axis", 0);
  if (axis < 0) axis += rank;
  require_import(axis >= 0 && axis < rank && axis != value.batch_axis, "it splits the batch");
  const int64_t size = dimensions(importer, value)[static_cast<size_t>(axis)].number;
  const int64_t parts = node.proto.output_size(), part = (size + parts - 1) / parts;
  std::vector<int64_t> sizes(static_cast<size_t>(parts), part);
  sizes.back() = size - part * (parts - 1);
  if (importer.input(node, 1) != nullptr) sizes = importer.required(node, 1).numbers();
  require_import(
      std::ssize(sizes) == parts && std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) == size,
      "its parts do not fit " + shape_text(importer.shape(value)));
  int64_t begin = 0;
  for (int i = 0; i < node.proto.output_size(); begin += sizes[static_cast<size_t>(i++)]) {
    if (!importer.is_used(node, i)) continue;
    const List starts{begin}, ends{begin + sizes[static_cast<size_t>(i)]};
    importer.give(
        node, i,
        importer.append(
            "Slice", node.name + "." + std::to_string(i),
            {{{"starts", starts}, {"ends", ends}, {"axes", List{axis}}, {"steps", List{1}}}, {value}, {}}));
  }
}

/// Attributes that say nothing else than the default, of opsets that Lepton's operators do not know.
void pool_rule(Importer& importer, const ImportNode& node) {
  importer.require_one_output(node);
  Operands operands = importer.operands(node);
  operands.attributes.erase("storage_order");  // of indices, which nobody takes
  importer.give(node, 0, importer.append(node.type, node.name, std::move(operands)));
}

/// x times HardSigmoid(x) with alpha 1 / 6.
void hard_swish_rule(Importer& importer, const ImportNode& node) {
  const Value value = importer.required_value(node, 0);
  const Value gate =
      importer.append("HardSigmoid", node.name + ".gate", {{{"alpha", 1.0 / 6}, {"beta", 0.5}}, {value}, {}});
  importer.give(node, 0, importer.append("Mul", node.name, {{}, {value, gate}, {}}));
}

}  // namespace

ImportRule find_import_rule(const std::string& type) {
  static const std::map<std::string, ImportRule> table = {
      {"AveragePool", pool_rule},    {"BatchNormalization", batch_norm_rule},
      {"Cast", cast_rule},           {"Dropout", dropout_rule},
      {"Flatten", flatten_rule},     {"Gather", gather_rule},
      {"Gemm", gemm_rule},           {"HardSwish", hard_swish_rule},
      {"GRU", recurrent_rule},       {"GroupNormalization", group_norm_rule},
      {"LSTM", recurrent_rule},      {"RNN", recurrent_rule},
      {"Resize", resize_rule},       {"Identity", identity_rule},
      {"MatMul", matmul_rule},       {"MaxPool", pool_rule},
      {"Reshape", reshape_rule},     {"Shape", shape_rule},
      {"Size", size_rule},           {"Split", split_rule},
      {"Squeeze", squeeze_rule},     {"Transpose", transpose_rule},
      {"Unsqueeze", unsqueeze_rule},
  };
  const auto found = table.find(type);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace lepton::onnx
