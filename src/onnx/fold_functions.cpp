// SPDX-License-Identifier: Apache-2.0
// See the header. Truth values are integers, 0 and 1.
#include "onnx/fold_functions.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "onnx/fold.h"

namespace lepton::onnx::folding {

namespace {

using messages::AttributeProto;
using messages::NodeProto;

// ---- of one tensor

float reciprocal(float x) {
  return 1 / x;
}
float negative(float x) {
  return -x;
}

const std::map<std::string, float (*)(float)>& functions() {
  static const std::map<std::string, float (*)(float)> table = {
      {"Abs", std::fabs},         {"Ceil", std::ceil},   {"Cos", std::cos},   {"Erf", std::erf},
      {"Exp", std::exp},          {"Floor", std::floor}, {"Log", std::log},   {"Neg", negative},
      {"Reciprocal", reciprocal}, {"Sin", std::sin},     {"Sqrt", std::sqrt}, {"Tanh", std::tanh},
  };
  return table;
}

Constant fold_function(const NodeProto& node, Inputs inputs) {
  Constant result = input(inputs, 0);
  result.origin.clear();
  result.joined.clear();
  const bool negates = node.op_type() == "Neg", absolute = node.op_type() == "Abs";
  require(result.floating || negates || absolute, "it takes a function of integers");
  const auto function = functions().at(node.op_type());
  for (float& value : result.floats) value = function(value);
  for (Count& count : result.integers) {
    require(count.number > INT64_MIN, "its numbers are too large");
    if (negates || count.number < 0) count.number = -count.number;
  }
  return result;
}

Constant fold_not(const NodeProto&, Inputs inputs) {
  Constant result = input(inputs, 0);
  require(!result.floating, "it takes truth values");
  for (Count& count : result.integers) count = {count.number == 0 ? 1 : 0};
  return result;
}

Constant fold_shape(const NodeProto& node, Inputs inputs) {
  require(!inputs.empty() && inputs[0] != nullptr, "an input is missing");
  const Constant& data = *inputs[0];  // which may be a shape alone
  const auto rank = std::ssize(data.shape);
  const auto place = [&](const char* name, int64_t otherwise) {
    const int64_t at = node_int(node, name, otherwise);
    return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  std::vector<Count> sizes;
  for (int64_t d = place("start", 0); d < place("end", rank); ++d)
    sizes.push_back({data.shape[static_cast<size_t>(d)], d == data.batch_axis});
  const auto count = std::ssize(sizes);
  return integer_constant({count}, std::move(sizes));
}

Constant fold_size(const NodeProto&, Inputs inputs) {
  require(!inputs.empty() && inputs[0] != nullptr, "an input is missing");
  return integer_constant({}, {{inputs[0]->elements(), inputs[0]->batch_axis >= 0}});
}

/// Keeps what is on and above the k-th diagonal (upper = 1), or on and below it.
Constant fold_trilu(const NodeProto& node, Inputs inputs) {
  Constant result = input(inputs, 0);
  result.origin.clear();
  result.joined.clear();
  int64_t k = 0;
  if (inputs.size() > 1 && inputs[1] != nullptr) {
    require(input(inputs, 1).elements() == 1, "its diagonal is not one number");
    k = input(inputs, 1).numbers()[0];
  }
  require(result.shape.size() >= 2, "it takes matrices");
  require(k >= -folded_most && k <= folded_most, "its diagonal is outside");
  const bool upper = node_int(node, "upper", 1) != 0;
  size_t i = 0;
  for_indices(result.shape, [&](const Shape& index) {
    const int64_t row = index[index.size() - 2], column = index.back();
    if (upper ? column < row + k : column > row + k) {
      if (result.floating)
        result.floats[i] = 0;
      else
        result.integers[i] = {0};
    }
    ++i;
  });
  return result;
}

/// Of a list of sizes.
Constant fold_product(const NodeProto& node, Inputs inputs) {
  const Constant& data = input(inputs, 0);
  require(inputs.size() < 2 && find_attribute(node, "axes") == nullptr && data.shape.size() <= 1 &&
              !data.floating,
          "it multiplies more than a list of integers");
  Count product{1};
  for (const Count& count : data.integers) {
    require(!product.of_batch || !count.of_batch, "it squares the batch size");
    require(!__builtin_mul_overflow(product.number, count.number, &product.number),
            "its numbers are too large");
    product.of_batch = product.of_batch || count.of_batch;
  }
  return integer_constant(node_int(node, "keepdims", 1) != 0 ? Shape(data.shape.size(), 1) : Shape{},
                          {product});
}

// ---- of two tensors

using Choice = bool (*)(double, double);

const std::map<std::string, Choice>& comparisons() {
  static const std::map<std::string, Choice> table = {
      {"And", [](double a, double b) { return a != 0 && b != 0; }},
      {"Equal", [](double a, double b) { return a == b; }},
      {"Greater", [](double a, double b) { return a > b; }},
      {"GreaterOrEqual", [](double a, double b) { return a >= b; }},
      {"Less", [](double a, double b) { return a < b; }},
      {"LessOrEqual", [](double a, double b) { return a <= b; }},
      {"Or", [](double a, double b) { return a != 0 || b != 0; }},
      {"Xor", [](double a, double b) { return (a != 0) != (b != 0); }},
  };
  return table;
}

double number_at(const Constant& data, size_t at) {
  if (data.floating) return static_cast<double>(data.floats[at]);
  const Count count = data.integers[at];
  require(!count.of_batch, "it compares the batch size");
  return static_cast<double>(count.number);
}

Constant fold_comparison(const NodeProto& node, Inputs inputs) {
  const Constant &a = input(inputs, 0), &b = input(inputs, 1);
  require(a.floating == b.floating, "it compares different types");
  const Choice choice = comparisons().at(node.op_type());
  const bool sizes = node.op_type() == "Equal" && !a.floating;  // the batch's is none that is known
  std::vector<Count> results;
  Shape shape = broadcast_shape(a.shape, b.shape);
  for_indices(shape, [&](const Shape& index) {
    const auto i = static_cast<size_t>(broadcast_source(a, index)),
               j = static_cast<size_t>(broadcast_source(b, index));
    const bool yes = sizes ? a.integers[i] == b.integers[j] : choice(number_at(a, i), number_at(b, j));
    results.push_back({yes ? 1 : 0});
  });
  return integer_constant(std::move(shape), std::move(results));
}

}  // namespace

Fold find_function(const std::string& type) {
  static const std::map<std::string, Fold> table = {
      {"Not", fold_not},   {"ReduceProd", fold_product}, {"Shape", fold_shape},
      {"Size", fold_size}, {"Trilu", fold_trilu},
  };
  if (functions().contains(type)) return fold_function;
  if (comparisons().contains(type)) return fold_comparison;
  const auto found = table.find(type);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace lepton::onnx::folding
