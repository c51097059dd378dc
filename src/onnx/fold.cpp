// SPDX-License-Identifier: Apache-2.0
// The operators that are folded and make or compute numbers, the latter element by element with ONNX's
// broadcasting. See the header; those that move elements are in fold_moves.cpp,
// functions and comparisons in fold_functions.cpp.
#include "onnx/fold.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "onnx/fold_functions.h"
#include "onnx/fold_moves.h"

namespace lepton::onnx {

namespace {

using messages::AttributeProto;
using messages::NodeProto;
using namespace folding;

// ---- making

Constant fold_constant(const NodeProto& node, Inputs) {
  if (const AttributeProto* value = find_attribute(node, "value")) {
    Constant constant = read_tensor(value->t());
    constant.origin.clear();
    return constant;
  }
  if (const AttributeProto* value = find_attribute(node, "value_int"))
    return integer_constant({}, {{value->i()}});
  if (const AttributeProto* value = find_attribute(node, "value_float"))
    return float_constant({}, {value->f()});
  if (const AttributeProto* value = find_attribute(node, "value_ints")) {
    std::vector<Count> counts;
    for (const int64_t number : value->ints()) counts.push_back({number});
    return integer_constant({value->ints_size()}, std::move(counts));
  }
  if (const AttributeProto* value = find_attribute(node, "value_floats"))
    return float_constant({value->floats_size()}, {value->floats().begin(), value->floats().end()});
  refuse("a Constant of this kind holds no numbers");
}

Constant fold_constant_of_shape(const NodeProto& node, Inputs inputs) {
  int64_t batch_axis = -1;
  const Shape shape = sizes_of(input(inputs, 0), batch_axis);
  require_moderate(shape);
  Constant one = float_constant({1}, {0.0F});
  if (const AttributeProto* value = find_attribute(node, "value")) one = read_tensor(value->t());
  require(one.elements() == 1, "its value is not one number");
  one.origin.clear();
  Constant result = moved(one, shape, [](const Shape&) { return int64_t{0}; });
  result.batch_axis = batch_axis;
  return result;
}

Constant fold_range(const NodeProto&, Inputs inputs) {
  const Constant &start = input(inputs, 0), &limit = input(inputs, 1), &delta = input(inputs, 2);
  require(start.elements() == 1 && limit.elements() == 1 && delta.elements() == 1, "it takes single numbers");
  const int64_t first = start.numbers()[0], last = limit.numbers()[0], step = delta.numbers()[0];
  constexpr int64_t limit_most = int64_t{1} << 60;
  const auto moderate = [&](int64_t number) { return number > -limit_most && number < limit_most; };
  require(step != 0 && moderate(step) && moderate(first) && moderate(last) &&
              std::abs(last - first) / std::abs(step) <= folded_most,
          "its result is too large");
  std::vector<Count> counts;
  for (int64_t at = first; step > 0 ? at < last : at > last; at += step) counts.push_back({at});
  const auto count = std::ssize(counts);
  return integer_constant({count}, std::move(counts));
}

Constant fold_cast(const NodeProto& node, Inputs inputs) {
  using Type = messages::TensorProto;
  const Constant& data = input(inputs, 0);
  const int64_t to = node_int(node, "to", 0);
  const bool floating = is_floating_type(to);
  Constant result = cast(data, floating);
  for (size_t i = 0; to == Type::BOOL && i < result.integers.size(); ++i)
    result.integers[i].number = (data.floating ? data.floats[i] != 0 : data.integers[i].number != 0) ? 1 : 0;
  return result;
}

Constant fold_cast_like(const NodeProto&, Inputs inputs) {
  return cast(input(inputs, 0), input(inputs, 1).floating);
}

// ---- computing

struct Arithmetic {
  float (*floats)(float, float);
  Count (*integers)(Count, Count);
};

Count sum_of(Count a, Count b) {
  require(a.of_batch == b.of_batch || a.number == 0 || b.number == 0, "it adds to the batch size");
  Count sum{0, a.number == 0 ? b.of_batch : a.of_batch};
  require(!__builtin_add_overflow(a.number, b.number, &sum.number), "its numbers are too large");
  return sum;
}
Count product_of(Count a, Count b) {
  require(!a.of_batch || !b.of_batch, "it squares the batch size");
  Count product{0, a.of_batch || b.of_batch};
  require(!__builtin_mul_overflow(a.number, b.number, &product.number), "its numbers are too large");
  return product;
}
Count quotient_of(Count a, Count b) {
  require(b.number != 0 && (b.number != -1 || a.number != INT64_MIN), "it divides by 0");
  require(a.of_batch || !b.of_batch, "it divides by the batch size");
  require(a.of_batch == b.of_batch || a.number % b.number == 0, "it divides the batch size");
  return {a.number / b.number, a.of_batch != b.of_batch};
}

/// The sign is the divisor's, as in Python.
Count remainder_of(Count a, Count b) {
  require(!a.of_batch && !b.of_batch, "it divides the batch size");
  require(b.number != 0, "it divides by 0");
  if (b.number == -1) return {0};
  const int64_t rest = a.number % b.number;
  return {rest != 0 && (rest < 0) != (b.number < 0) ? rest + b.number : rest};
}

Count largest_of(Count a, Count b) {
  require(a.of_batch == b.of_batch, "it compares the batch size");
  return a.number < b.number ? b : a;
}
Count smallest_of(Count a, Count b) {
  return largest_of(a, b) == a ? b : a;
}

const std::map<std::string, Arithmetic>& arithmetic() {
  static const std::map<std::string, Arithmetic> table = {
      {"Add", {[](float a, float b) { return a + b; }, sum_of}},
      {"Sub",
       {[](float a, float b) { return a - b; },
        [](Count a, Count b) {
          return sum_of(a, {-b.number, b.of_batch});
        }}},
      {"Mul", {[](float a, float b) { return a * b; }, product_of}},
      {"Div", {[](float a, float b) { return a / b; }, quotient_of}},
      {"Mod", {nullptr, remainder_of}},
      {"Pow", {[](float a, float b) { return std::pow(a, b); }, nullptr}},
      {"Max", {[](float a, float b) { return std::max(a, b); }, largest_of}},
      {"Min", {[](float a, float b) { return std::min(a, b); }, smallest_of}},
  };
  return table;
}

Constant fold_pair(const Arithmetic& rule, const Constant& a, const Constant& b) {
  require(a.floating == b.floating && (a.floating ? rule.floats != nullptr : rule.integers != nullptr),
          "it computes with types for which that is not done");
  Constant result;
  result.floating = a.floating;
  result.shape = broadcast_shape(a.shape, b.shape);
  for_indices(result.shape, [&](const Shape& index) {
    const auto i = static_cast<size_t>(broadcast_source(a, index)),
               j = static_cast<size_t>(broadcast_source(b, index));
    if (result.floating)
      result.floats.push_back(rule.floats(a.floats[i], b.floats[j]));
    else
      result.integers.push_back(rule.integers(a.integers[i], b.integers[j]));
  });
  return result;
}

/// Max and Min take any number of inputs.
Constant fold_arithmetic(const NodeProto& node, Inputs inputs) {
  const bool any_number = node.op_type() == "Max" || node.op_type() == "Min";
  require(node_int(node, "fmod", 0) == 0, "fmod is not done");
  require(any_number || inputs.size() == 2, "it takes two inputs");
  const Arithmetic& rule = arithmetic().at(node.op_type());
  if (inputs.size() == 1) return fold_pair(rule, input(inputs, 0), input(inputs, 0));
  Constant result = fold_pair(rule, input(inputs, 0), input(inputs, 1));
  for (size_t i = 2; i < inputs.size(); ++i) result = fold_pair(rule, result, input(inputs, i));
  return result;
}

Constant fold_where(const NodeProto&, Inputs inputs) {
  const Constant &condition = input(inputs, 0), &yes = input(inputs, 1), &no = input(inputs, 2);
  require(!condition.floating && yes.floating == no.floating, "its inputs do not fit each other");
  Constant result;
  result.floating = yes.floating;
  result.shape = broadcast_shape(condition.shape, broadcast_shape(yes.shape, no.shape));
  for_indices(result.shape, [&](const Shape& index) {
    const auto which = static_cast<size_t>(broadcast_source(condition, index));
    const Constant& data = condition.integers[which].number != 0 ? yes : no;
    const auto source = static_cast<size_t>(broadcast_source(data, index));
    if (result.floating)
      result.floats.push_back(data.floats[source]);
    else
      result.integers.push_back(data.integers[source]);
  });
  return result;
}

const std::map<std::string, Fold>& table() {
  static const std::map<std::string, Fold> rows = [] {
    std::map<std::string, Fold> all = {
        {"Cast", fold_cast},         {"CastLike", fold_cast_like},
        {"Constant", fold_constant}, {"ConstantOfShape", fold_constant_of_shape},
        {"Range", fold_range},       {"Where", fold_where},
    };
    for (const auto& [name, rule] : arithmetic()) all.emplace(name, fold_arithmetic);
    return all;
  }();
  return rows;
}

}  // namespace

bool folds(const std::string& type) {
  return find_move(type) != nullptr || find_function(type) != nullptr || table().contains(type);
}

Constant fold(const NodeProto& node, Inputs inputs) {
  Fold rule = find_move(node.op_type());
  if (rule == nullptr) rule = find_function(node.op_type());
  return rule != nullptr ? rule(node, inputs) : table().at(node.op_type())(node, inputs);
}

const AttributeProto* find_attribute(const NodeProto& node, const std::string& name) {
  for (const AttributeProto& attribute : node.attribute())
    if (attribute.name() == name) return &attribute;
  return nullptr;
}

int64_t node_int(const NodeProto& node, const std::string& name, int64_t otherwise) {
  const AttributeProto* attribute = find_attribute(node, name);
  return attribute == nullptr ? otherwise : attribute->i();
}

}  // namespace lepton::onnx
