// SPDX-License-Identifier: Apache-2.0
// RNN, LSTM and GRU of a file. ONNX's have the steps in front, [T, N, I], and give Y [T, D, N, H] and Y_h
// [D, N, H]; Lepton's have samples in front and give either [T, D H] or [D H]. Gates and parameters are the
// same. What follows in a file to bring the directions together (Squeeze, or Transpose and Reshape, or a
// Gather) vanishes where it does just that; else the values get ONNX's dimensions by a Reshape. Where a file
// takes both outputs, the last states are cut out of the sequence, or, with lengths, the layer is computed
// twice with the same parameters. See importer.h.
#include <algorithm>
#include <map>
#include <optional>

#include "onnx/fold.h"
#include "onnx/importer.h"

namespace lepton::onnx {

namespace {

using messages::NodeProto;
using List = std::vector<int64_t>;

enum : int { x_input, w_input, r_input, b_input, lengths_input, h_input, c_input, peephole_input };
enum : int { y_output, last_output, cell_output };

/// One that the file holds and that is 0 counts as left out.
void require_zero(const Importer& importer, const ImportNode& node, int number, const std::string& what) {
  if (importer.input(node, number) == nullptr) return;
  const Constant* given = importer.constant(node, number);
  require_import(given != nullptr && !given->open, "its " + what + " is computed, but Lepton's is 0");
  const bool zero = std::all_of(given->floats.begin(), given->floats.end(), [](float v) { return v == 0; });
  require_import(given->floating && zero, "its " + what + " is not 0, as Lepton's is");
}

/// The value with the lengths; nullopt: all are as long as the sequence.
std::optional<Value> lengths_of(const Importer& importer, const ImportNode& node, int64_t steps) {
  if (importer.input(node, lengths_input) == nullptr) return std::nullopt;
  const Value* lengths = importer.value(node, lengths_input);
  if (lengths != nullptr && lengths->single && importer.is_network_input(*lengths))
    return Value{lengths->index};
  const Constant* given = importer.constant(node, lengths_input);
  require_import(given != nullptr, "its sequence_lens are computed: they must be an input of the network");
  for (const int64_t length : given->numbers())
    require_import(length == steps, "its sequence_lens are constant and not the whole sequence");
  return std::nullopt;
}

/// Where an output goes: dimensions of a value as nodes behind each other change them. The batch is -1.
struct Trail {
  List dimensions;
  const NodeProto* at = nullptr;  ///< the node that gave it last
  int output = 0;

  int64_t batch() const { return std::find(dimensions.begin(), dimensions.end(), -1) - dimensions.begin(); }
  List own() const {
    List rest = dimensions;
    rest.erase(rest.begin() + batch());
    return rest;
  }
};

const Constant* constant_named(const Importer& importer, const NodeProto& node, int number) {
  if (number >= node.input_size()) return nullptr;
  const Known* known = importer.known(node.input(number));
  return known == nullptr ? nullptr : std::get_if<Constant>(known);
}

/// Axes of a Squeeze; empty: not known.
List squeezed_axes(const Importer& importer, const NodeProto& node, int64_t rank) {
  const Constant* given = constant_named(importer, node, 1);
  if (given == nullptr || given->floating) return {};
  List axes = given->numbers();
  for (int64_t& axis : axes) axis += axis < 0 ? rank : 0;
  std::sort(axes.rbegin(), axes.rend());
  return axes;
}

bool follow_squeeze(const Importer& importer, const NodeProto& node, List& dimensions) {
  const List axes = squeezed_axes(importer, node, std::ssize(dimensions));
  for (const int64_t axis : axes) {
    if (axis < 0 || axis >= std::ssize(dimensions) || dimensions[static_cast<size_t>(axis)] != 1)
      return false;
    dimensions.erase(dimensions.begin() + axis);
  }
  return !axes.empty();
}

/// One that changes the order of other dimensions than the batch moves numbers.
bool follow_transpose(const NodeProto& node, List& dimensions) {
  const messages::AttributeProto* perm = find_attribute(node, "perm");
  if (perm == nullptr || perm->ints_size() != std::ssize(dimensions)) return false;
  const auto batch = std::find(dimensions.begin(), dimensions.end(), -1) - dimensions.begin();
  List moved;
  int64_t before = -1;
  for (const int64_t from : perm->ints()) {
    if (from < 0 || from >= std::ssize(dimensions)) return false;
    moved.push_back(dimensions[static_cast<size_t>(from)]);
    if (from == batch) continue;
    if (from <= before) return false;
    before = from;
  }
  if (std::count(moved.begin(), moved.end(), -1) != 1) return false;
  dimensions = moved;
  return true;
}

/// What is asked for, without 0 and -1, must be `own` with the batch at the same place as it is now.
bool follow_reshape(const Importer& importer, const NodeProto& node, const List& own, List& dimensions) {
  const Constant* asked = constant_named(importer, node, 1);
  if (asked == nullptr || asked->floating || node_int(node, "allowzero", 0) != 0) return false;
  const auto batch = std::find(dimensions.begin(), dimensions.end(), -1) - dimensions.begin();
  List wanted = own;
  if (batch > std::ssize(own)) return false;
  wanted.insert(wanted.begin() + batch, -1);
  if (asked->integers.size() != wanted.size()) return false;
  for (size_t d = 0; d < wanted.size(); ++d) {
    const Count& count = asked->integers[d];
    const bool here = static_cast<int64_t>(d) == batch;
    const bool copied = count.number == 0 && d < dimensions.size() && dimensions[d] == wanted[d];
    if (here ? count.of_batch || copied || count.number == -1
             : copied || count.number == wanted[d] || count.number == -1)
      continue;
    return false;
  }
  const auto open = std::count(asked->integers.begin(), asked->integers.end(), Count{-1});
  if (open > 1 || !std::equal(own.begin(), own.begin() + batch, dimensions.begin())) return false;
  dimensions = wanted;
  return true;
}

/// One of a dimension of 1 that takes it away.
bool follow_gather(const Importer& importer, const NodeProto& node, List& dimensions) {
  const Constant* index = constant_named(importer, node, 1);
  int64_t axis = node_int(node, "axis", 0);
  if (axis < 0) axis += std::ssize(dimensions);
  if (index == nullptr || index->floating || !index->shape.empty()) return false;
  const int64_t number = index->numbers().front();
  if (axis < 0 || axis >= std::ssize(dimensions) || dimensions[static_cast<size_t>(axis)] != 1) return false;
  dimensions.erase(dimensions.begin() + axis);
  return number == 0 || number == -1;
}

/// Gives the value, which is `own` with the batch in front in Lepton, to the output of the last of the nodes
/// that bring ONNX's dimensions to that; with ONNX's dimensions to the node's own output where there are
/// none.
void give_states(Importer& importer, const ImportNode& node, int output, const Value& value,
                 const List& dimensions) {
  const List own = importer.shape(value);
  Trail trail{dimensions, &node.proto, output};
  std::vector<const NodeProto*> behind;
  while (trail.own() != own) {
    const NodeProto* next = importer.only_consumer(*trail.at, trail.output);
    if (next == nullptr || next->input(0) != trail.at->output(trail.output)) break;
    const std::string& type = next->op_type();
    const bool followed = type == "Squeeze"     ? follow_squeeze(importer, *next, trail.dimensions)
                          : type == "Transpose" ? follow_transpose(*next, trail.dimensions)
                          : type == "Reshape"   ? follow_reshape(importer, *next, own, trail.dimensions)
                          : type == "Gather"    ? follow_gather(importer, *next, trail.dimensions)
                                                : false;
    if (!followed) break;
    behind.push_back(next);
    trail.at = next;
    trail.output = 0;
  }
  if (trail.own() == own) {
    for (const NodeProto* one : behind) importer.skip(*one);
    const ImportNode last{*trail.at, trail.at->op_type(), node.name};
    return importer.give(last, trail.output, Value{value.index, trail.batch()});
  }
  const Trail begin{dimensions, &node.proto, output};
  Value result =
      importer.reshaped(node.name + "." + node.proto.output(output), Value{value.index, 0}, begin.own());
  result.batch_axis = begin.batch();
  importer.give(node, output, result);
}

/// What a node of ours needs.
struct Layer {
  ops::Attributes attributes;
  std::vector<Value> values;
  std::vector<int> parameters;
  int64_t steps = 0, directions = 1, units = 0;
  bool reverse = false;
};

Layer read_layer(Importer& importer, const ImportNode& node) {
  const Value& x = importer.required_value(node, x_input);
  const bool samples_first = node_int(node.proto, "layout", 0) != 0;
  require_import(
      importer.rank(x) == 3 && importer.shape(x).size() == 2 && x.batch_axis == (samples_first ? 0 : 1),
      "its input is " + shape_text(importer.shape(x)) +
          (samples_first ? ", not batch, steps and features" : ", not steps, batch and features"));
  require_import(!importer.is_used(node, cell_output), "its output Y_c, the last cell, is not computed");
  require_zero(importer, node, h_input, "initial_h");
  require_zero(importer, node, c_input, "initial_c");
  require_zero(importer, node, peephole_input, "input P, peepholes,");
  Layer layer{importer.attributes(node), {{x.index, 0}}, {}, importer.shape(x).front()};
  for (const char* name : {"layout", "output_sequence", "activation_alpha", "activation_beta"})
    layer.attributes.erase(name);  // of activations that Lepton does not compute
  for (const int number : {w_input, r_input, b_input}) {
    if (number == b_input && importer.input(node, number) == nullptr) continue;
    const Constant& given = importer.required(node, number);
    layer.parameters.push_back(
        importer.add_parameter(node, number, given, importer.role_of(node, number, given.shape)));
    if (number == r_input && given.shape.size() == 3) {
      layer.directions = given.shape.front();
      layer.units = given.shape.back();
    }
  }
  const std::string direction = ops::string_attribute(layer.attributes, "direction", "forward");
  layer.reverse = direction == "reverse";
  if (const auto lengths = lengths_of(importer, node, layer.steps)) layer.values.push_back(*lengths);
  return layer;
}

Value append_layer(Importer& importer, const ImportNode& node, const std::string& name, const Layer& layer,
                   const std::string& output) {
  Operands operands{layer.attributes, layer.values, layer.parameters};
  operands.attributes["output"] = output;
  return {importer.add(node.type, name, std::move(operands)), 0};
}

/// Of a sequence without lengths: of each direction the step that it takes last, side by side.
Value last_states(Importer& importer, const ImportNode& node, const Layer& layer, const Value& sequence) {
  std::vector<Value> parts;
  for (int64_t d = 0; d < layer.directions; ++d) {
    const int64_t step = layer.reverse || d == 1 ? 0 : layer.steps - 1, begin = d * layer.units;
    const std::string name = node.name + ".last_" + std::to_string(d + 1);
    parts.push_back(importer.append("Slice", name,
                                    {{{"starts", List{step, begin}},
                                      {"ends", List{step + 1, begin + layer.units}},
                                      {"axes", List{1, 2}},
                                      {"steps", List{1, 1}}},
                                     {sequence},
                                     {}}));
  }
  const Value all = parts.size() == 1
                        ? parts.front()
                        : importer.append("Concat", node.name + ".last", {{{"axis", int64_t{2}}}, parts, {}});
  return importer.reshaped(node.name + ".states", all, {layer.directions * layer.units});
}

}  // namespace

void recurrent_rule(Importer& importer, const ImportNode& node) {
  const Layer layer = read_layer(importer, node);
  const bool samples_first = node_int(node.proto, "layout", 0) != 0;
  const bool sequence = importer.is_used(node, y_output), last = importer.is_used(node, last_output);
  const int64_t steps = layer.steps, directions = layer.directions, units = layer.units;
  Value states;
  if (sequence) {
    states = append_layer(importer, node, node.name, layer, "Y");
    give_states(importer, node, y_output, states,
                samples_first ? List{-1, steps, directions, units} : List{steps, directions, -1, units});
  }
  if (!last) return;
  const bool cut = sequence && layer.values.size() == 1;
  const Value end =
      cut ? last_states(importer, node, layer, states)
          : append_layer(importer, node, sequence ? node.name + ".Y_h" : node.name, layer, "Y_h");
  give_states(importer, node, last_output, end,
              samples_first ? List{-1, directions, units} : List{directions, -1, units});
}

int Importer::add(const std::string& type, const std::string& name, Operands operands) {
  std::vector<int> inputs;
  for (const Value& value : operands.values) inputs.push_back(value.index);
  return builder_.add_node(type, name, std::move(operands.attributes), std::move(inputs),
                           std::move(operands.parameters), spec_.position);
}

}  // namespace lepton::onnx
