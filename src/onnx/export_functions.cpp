// SPDX-License-Identifier: Apache-2.0
// Bodies of functions; see the header. Sizes of one sample are known and written as they are; a 0 in a shape
// keeps the batch dimension.
#include "onnx/export_functions.h"

#include <cmath>
#include <map>

#include "base/error.h"
#include "ops/attention_shape.h"

namespace lepton::onnx {

namespace {

using messages::AttributeProto;
using messages::FunctionProto;
using messages::NodeProto;
using Names = std::vector<std::string>;
using List = std::vector<int64_t>;

struct WriteAttribute {
  AttributeProto& to;
  void operator()(int64_t value) const {
    to.set_type(AttributeProto::INT);
    to.set_i(value);
  }
  void operator()(double value) const {
    to.set_type(AttributeProto::FLOAT);
    to.set_f(static_cast<float>(value));
  }
  void operator()(const std::string& value) const {
    to.set_type(AttributeProto::STRING);
    to.set_s(value);
  }
  void operator()(const List& values) const {
    to.set_type(AttributeProto::INTS);
    for (const int64_t value : values) to.add_ints(value);
  }
  void operator()(const std::vector<double>& values) const {
    to.set_type(AttributeProto::FLOATS);
    for (const double value : values) to.add_floats(static_cast<float>(value));
  }
  void operator()(const Names& values) const {
    to.set_type(AttributeProto::STRINGS);
    for (const std::string& value : values) to.add_strings(value);
  }
  void operator()(const std::shared_ptr<const ops::SparseMatrix>&) const {
    CHECK(false, "nodes with a sparse matrix are refused");
  }
};

/// Nodes one after another, each with one output.
class Body {
 public:
  Body(FunctionProto& function, int64_t opset) : function_(function), opset_(opset) {}

  std::string add(const std::string& type, const Names& inputs, const ops::Attributes& attributes = {},
                  const std::string& output = "") {
    NodeProto& node = *function_.add_node();
    node.set_op_type(type);
    for (const std::string& input : inputs) node.add_input(input);
    node.add_output(output.empty() ? "t" + std::to_string(function_.node_size()) : output);
    for (const auto& [name, value] : attributes) write_attribute(name, value, node);
    return node.output(0);
  }
  std::string number(double value) { return add("Constant", {}, {{"value_float", value}}); }
  std::string numbers(size_t count, double value) {
    return add("Constant", {}, {{"value_floats", std::vector<double>(count, value)}});
  }
  std::string integers(const List& values) { return add("Constant", {}, {{"value_ints", values}}); }
  std::string reshape(const std::string& x, const List& shape, const std::string& output = "") {
    return add("Reshape", {x, integers(shape)}, {}, output);
  }
  std::string transpose(const std::string& x, const List& perm) {
    return add("Transpose", {x}, {{"perm", perm}});
  }
  std::string mean(const std::string& x, const List& axes) { return reduce("ReduceMean", x, axes); }
  /// ReduceMean or ReduceMax.
  std::string reduce(const std::string& type, const std::string& x, const List& axes) {
    if (opset_ < 18) return add(type, {x}, {{"axes", axes}});
    return add(type, {x, integers(axes)});
  }
  /// Whether each of `count` places in a row lies before a sample's length, [N, 1]: as `shape`, in which -1
  /// is those places and 0 the batch.
  std::string before_the_end(int64_t count, const std::string& length, List shape) {
    const auto scalar = [&](int64_t value) { return add("Constant", {}, {{"value_int", value}}); };
    const std::string range = add("Range", {scalar(0), scalar(count), scalar(1)});
    List places = shape;
    places[0] = 1;
    for (int64_t& one : shape) one = one == -1 ? 1 : one;
    return add("Less", {cast(reshape(range, places)), reshape(length, shape)});
  }
  std::string cast(const std::string& x) {
    return add("Cast", {x}, {{"to", int64_t{messages::TensorProto::FLOAT}}});
  }

 private:
  FunctionProto& function_;
  int64_t opset_;
};

/// 0.5 x (1 + erf(x / sqrt 2)); or Hendrycks and Gimpel 2016.
void write_gelu(Body& body, const FunctionSpec& spec) {
  std::string inner;
  if (ops::string_attribute(spec.attributes, "approximate", "none") == "tanh") {
    const std::string square = body.add("Mul", {"x0", "x0"}), cube = body.add("Mul", {square, "x0"});
    const std::string sum = body.add("Add", {"x0", body.add("Mul", {cube, body.number(0.044715)})});
    inner = body.add("Tanh", {body.add("Mul", {sum, body.number(std::sqrt(2 / M_PI))})});
  } else {
    inner = body.add("Erf", {body.add("Mul", {"x0", body.number(std::sqrt(0.5))})});
  }
  const std::string half = body.add("Mul", {"x0", body.number(0.5)});
  body.add("Mul", {half, body.add("Add", {inner, body.number(1)})}, {}, "y");
}

void write_mish(Body& body, const FunctionSpec&) {
  body.add("Mul", {"x0", body.add("Tanh", {body.add("Softplus", {"x0"})})}, {}, "y");
}

void write_swish(Body& body, const FunctionSpec& spec) {
  const double alpha = ops::float_attribute(spec.attributes, "alpha", 1);
  const std::string scaled = alpha == 1 ? "x0" : body.add("Mul", {"x0", body.number(alpha)});
  body.add("Mul", {"x0", body.add("Sigmoid", {scaled})}, {}, "y");
}

/// LayerNormalization, and RMSNormalization, which subtracts no mean.
void write_norm(Body& body, const FunctionSpec& spec) {
  const auto rank = std::ssize(spec.inputs[0]) + 1;
  const int64_t given = ops::int_attribute(spec.attributes, "axis", -1);
  List axes;
  for (int64_t axis = given < 0 ? given + rank : given; axis < rank; ++axis) axes.push_back(axis);
  std::string x = "x0";
  if (spec.type == "LayerNormalization") x = body.add("Sub", {x, body.mean(x, axes)});
  const std::string square = body.mean(body.add("Mul", {x, x}), axes);
  const double epsilon = ops::float_attribute(spec.attributes, "epsilon", 1e-5);
  const std::string spread = body.add("Sqrt", {body.add("Add", {square, body.number(epsilon)})});
  x = body.add("Div", {x, spread});
  const bool shifts = spec.operands > 2;
  x = body.add("Mul", {x, "x1"}, {}, shifts ? "" : "y");
  if (shifts) body.add("Add", {x, "x2"}, {}, "y");
}

/// Groups as the channels of an InstanceNormalization; then a scale and a bias for each channel.
void write_group_norm(Body& body, const FunctionSpec& spec) {
  const int64_t groups = ops::int_attribute(spec.attributes, "num_groups", 1);
  const double epsilon = ops::float_attribute(spec.attributes, "epsilon", 1e-5);
  List whole = spec.inputs[0], channels(whole.size(), 1);
  channels[0] = whole[0];
  whole.insert(whole.begin(), 0);
  const auto count = static_cast<size_t>(groups);
  const std::string normalised =
      body.add("InstanceNormalization",
               {body.reshape("x0", {0, groups, -1}), body.numbers(count, 1), body.numbers(count, 0)},
               {{"epsilon", epsilon}});
  const std::string scaled = body.add("Mul", {body.reshape(normalised, whole), body.reshape("x1", channels)});
  body.add("Add", {scaled, body.reshape("x2", channels)}, {}, "y");
}

/// Keys or values for all heads of queries: [N, T, K, S] to [N, T, H, S], each H / K times.
std::string repeat_heads(Body& body, const std::string& x, const ops::AttentionShape& shape, int64_t size) {
  const int64_t times = shape.heads / shape.key_heads;
  if (times == 1) return x;
  const std::string apart = body.add("Unsqueeze", {x, body.integers({3})});
  const std::string more = body.add("Expand", {apart, body.integers({1, 1, 1, times, 1})});
  return body.reshape(more, {0, shape.keys, shape.heads, size});
}

/// Scores where a query may look, and minus infinity where it may not.
std::string mask(Body& body, const std::string& scores, int64_t tokens) {
  const auto scalar = [&](int64_t value) { return body.add("Constant", {}, {{"value_int", value}}); };
  const std::string range = body.add("Range", {scalar(0), scalar(tokens), scalar(1)});
  const std::string queries = body.reshape(range, {tokens, 1}), keys = body.reshape(range, {1, tokens});
  const std::string sees = body.add("GreaterOrEqual", {queries, keys});
  return body.add("Where", {sees, scores, body.number(-INFINITY)});
}

/// softmax(Q K' scale) V for each head (Vaswani et al. 2017); with lengths or a mask as ops/attention_shape
/// says.
void write_attention(Body& body, const FunctionSpec& spec) {
  ops::OpSpec op;
  op.attributes = spec.attributes;
  op.inputs = spec.inputs;
  const ops::AttentionShape shape(op);
  Names parts = {"x0", "x1", "x2"};
  if (shape.packed) {
    const auto part = [&](int64_t begin, int64_t width) {
      return body.add("Slice",
                      {"x0", body.integers({begin}), body.integers({begin + width}), body.integers({2})});
    };
    parts = {part(0, shape.heads * shape.size), part(shape.begin[1], shape.key_heads * shape.size),
             part(shape.begin[2], shape.key_heads * shape.value_size)};
  }
  const std::string q = body.reshape(parts[0], {0, shape.queries, shape.heads, shape.size});
  const std::string k = repeat_heads(
      body, body.reshape(parts[1], {0, shape.keys, shape.key_heads, shape.size}), shape, shape.size);
  const std::string v =
      repeat_heads(body, body.reshape(parts[2], {0, shape.keys, shape.key_heads, shape.value_size}), shape,
                   shape.value_size);
  const std::string products =
      body.add("MatMul", {body.transpose(q, {0, 2, 1, 3}), body.transpose(k, {0, 2, 3, 1})});
  std::string scores = body.add("Mul", {products, body.number(static_cast<double>(shape.scale))});
  if (shape.causal) scores = mask(body, scores, shape.queries);
  const std::string bound = "x" + std::to_string(spec.inputs.size() - 1);
  std::string sees;
  if (shape.lengths) sees = body.before_the_end(shape.keys, bound, {0, 1, 1, -1});
  if (shape.mask)
    sees = body.add("Not", {body.add("Equal", {body.reshape(bound, {0, 1, 1, -1}), body.number(0)})});
  // Finite, so that nothing is NaN where no key is left.
  if (!sees.empty()) scores = body.add("Where", {sees, scores, body.number(-1e30)});
  std::string weights = body.add("Softmax", {scores}, {{"axis", int64_t{-1}}});
  if (!sees.empty()) weights = body.add("Mul", {weights, body.cast(sees)});
  const std::string gathered = body.add("MatMul", {weights, body.transpose(v, {0, 2, 1, 3})});
  const bool ends = shape.packed && shape.lengths;
  const std::string rows = body.reshape(body.transpose(gathered, {0, 2, 1, 3}),
                                        {0, shape.queries, shape.heads * shape.value_size}, ends ? "" : "y");
  if (ends)
    body.add("Mul", {rows, body.cast(body.before_the_end(shape.queries, bound, {0, -1, 1}))}, {}, "y");
}

/// Of a sequence [N, C, T] the mean of what lies before its length, [N, 1]; 0 of nothing.
void write_global_average(Body& body, const FunctionSpec& spec) {
  const int64_t steps = spec.inputs[0].back();
  const std::string sees = body.before_the_end(steps, "x1", {0, 1, -1});
  const std::string mean = body.mean(body.add("Where", {sees, "x0", body.number(0)}), {2});
  const std::string count = body.mean(body.cast(sees), {2});
  const std::string some = body.add("Max", {count, body.number(1.0 / static_cast<double>(steps))});
  body.add("Div", {mean, some}, {}, "y");
}

/// The largest of them; 0 of nothing.
void write_global_max(Body& body, const FunctionSpec& spec) {
  const std::string sees = body.before_the_end(spec.inputs[0].back(), "x1", {0, 1, -1});
  const std::string seen = body.add("Where", {sees, "x0", body.number(-INFINITY)});
  const std::string any = body.before_the_end(1, "x1", {0, 1, -1});
  body.add("Where", {any, body.reduce("ReduceMax", seen, {2}), body.number(0)}, {}, "y");
}

}  // namespace

bool write_function(const FunctionSpec& spec, FunctionProto& function) {
  static const std::map<std::string, void (*)(Body&, const FunctionSpec&)> table = {
      {"Attention", write_attention},
      {"GlobalAveragePool", write_global_average},
      {"GlobalMaxPool", write_global_max},
      {"Gelu", write_gelu},
      {"GroupNormalization", write_group_norm},
      {"LayerNormalization", write_norm},
      {"Mish", write_mish},
      {"RMSNormalization", write_norm},
      {"Swish", write_swish},
  };
  const auto writer = table.find(spec.type);
  if (writer == table.end()) return false;
  function.set_domain("lepton");
  for (size_t i = 0; i < spec.operands; ++i) function.add_input("x" + std::to_string(i));
  function.add_output("y");
  for (const auto& [name, value] : spec.attributes) function.add_attribute(name);
  auto& opset = *function.add_opset_import();
  opset.set_domain("");
  opset.set_version(spec.opset);
  Body body(function, spec.opset);
  writer->second(body, spec);
  return true;
}

void write_attribute(const std::string& name, const ops::Attribute& value, NodeProto& node) {
  AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  std::visit(WriteAttribute{attribute}, value);
}

}  // namespace lepton::onnx
