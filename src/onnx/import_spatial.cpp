// SPDX-License-Identifier: Apache-2.0
// Resize and GroupNormalization of a file. A Resize counts the batch among its axes, which must stay; what
// ONNX has as inputs are attributes in Lepton. A GroupNormalization of opset 18 has one scale and bias for
// each group, where Lepton's, like that of opset 21, has them for each channel: then they are a product and a
// sum behind it. See importer.h.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "onnx/importer.h"
#include "onnx/slots.h"

namespace lepton::onnx {

namespace {

using List = std::vector<int64_t>;

/// An empty tensor counts as left out.
const Constant* filled(const Importer& importer, const ImportNode& node, int number) {
  if (importer.input(node, number) == nullptr) return nullptr;
  const Constant& given = importer.required(node, number);
  return given.elements() == 0 ? nullptr : &given;
}

/// Of all axes that the node names, or has: those that are not the batch, in the file's numbers.
struct ResizedAxes {
  List axes;                    ///< as Lepton counts them, with the batch in front
  List before;                  ///< their sizes
  std::vector<size_t> entries;  ///< their places in scales or sizes
  size_t count = 0;             ///< of those places, the batch's included
};

ResizedAxes resized_axes(const Importer& importer, const Value& value, const ops::Attributes& attributes) {
  const int64_t rank = importer.rank(value);
  List all(static_cast<size_t>(rank));
  std::iota(all.begin(), all.end(), 0);
  all = ops::ints_attribute(attributes, "axes", all);
  ResizedAxes result;
  result.count = all.size();
  for (int64_t& axis : all) {
    if (axis < 0) axis += rank;
    require_import(axis >= 0 && axis < rank, "its axes do not fit");
  }
  require_distinct(all);
  for (size_t k = 0; k < all.size(); ++k) {
    if (all[k] == value.batch_axis) continue;
    const int64_t own = importer.own_axis(value, all[k]);
    result.axes.push_back(own);
    result.before.push_back(importer.shape(value)[static_cast<size_t>(own - 1)]);
    result.entries.push_back(k);
  }
  return result;
}

/// One scale for all axes that the node names, which is the smallest or the largest that its sizes ask for;
/// of the batch that is 1. False: it is 1.
bool keep_aspect_ratio(const std::string& policy, const ResizedAxes& axes, const Constant* sizes,
                       ops::Attributes& attributes) {
  require_import(policy == "not_larger" || policy == "not_smaller",
                 "it has no keep_aspect_ratio_policy \"" + policy + "\"");
  require_import(sizes != nullptr, "its keep_aspect_ratio_policy needs sizes");
  const bool with_batch = axes.entries.size() < axes.count;
  std::vector<double> scales;
  if (with_batch) scales.push_back(1);
  for (size_t k = 0; k < axes.axes.size(); ++k) {
    const Count& size = sizes->integers[axes.entries[k]];
    require_import(!size.of_batch, "its sizes depend on the batch size");
    scales.push_back(static_cast<double>(size.number) / static_cast<double>(axes.before[k]));
  }
  const double scale = policy == "not_larger" ? *std::min_element(scales.begin(), scales.end())
                                              : *std::max_element(scales.begin(), scales.end());
  if (scale == 1) return false;
  require_import(!with_batch, "it changes the batch");
  for (const int64_t size : axes.before) {
    const double exact = scale * static_cast<double>(size);
    require_import(std::floor(exact) == std::floor(exact + 0.5),
                   "its keep_aspect_ratio_policy rounds a size up, which Lepton's Resize does not");
  }
  attributes["axes"] = axes.axes;
  attributes["scales"] = std::vector<double>(axes.axes.size(), scale);
  return true;
}

/// Sets axes and scales, or sizes, of those axes that change; false: none does.
bool set_extent(const Importer& importer, const ImportNode& node, const ResizedAxes& axes,
                ops::Attributes& attributes) {
  const Constant *scales = filled(importer, node, 2), *sizes = filled(importer, node, 3);
  require_import((scales == nullptr) != (sizes == nullptr), "it needs either scales or sizes");
  const Constant& given = scales != nullptr ? *scales : *sizes;
  require_import(
      given.elements() == static_cast<int64_t>(axes.count) && given.floating == (scales != nullptr),
      "its scales or sizes do not fit its axes");
  const std::string policy = ops::string_attribute(attributes, "keep_aspect_ratio_policy", "stretch");
  attributes.erase("keep_aspect_ratio_policy");
  if (policy != "stretch") return keep_aspect_ratio(policy, axes, sizes, attributes);
  const bool corners =
      ops::string_attribute(attributes, "coordinate_transformation_mode", "") == "align_corners";
  List changed, wanted_sizes;
  std::vector<double> wanted_scales;
  for (size_t k = 0; k < axes.axes.size(); ++k) {
    const size_t at = axes.entries[k];
    if (scales != nullptr ? given.floats[at] == 1 : given.integers[at] == Count{axes.before[k]}) continue;
    changed.push_back(axes.axes[k]);
    if (scales != nullptr) {
      const double scale = shortest(given.floats[at]), size = scale * static_cast<double>(axes.before[k]);
      // ONNX takes the size before it is cut for the place of the last corner, runtimes the one behind it.
      require_import(!corners || size == std::floor(size),
                     "align_corners with scales that give no whole size means different things");
      wanted_scales.push_back(scale);
    }
    if (sizes == nullptr) continue;
    require_import(!given.integers[at].of_batch, "its sizes depend on the batch size");
    wanted_sizes.push_back(given.integers[at].number);
  }
  if (scales != nullptr && axes.entries.size() < axes.count) {
    for (size_t at = 0; at < axes.count; ++at)
      require_import(std::find(axes.entries.begin(), axes.entries.end(), at) != axes.entries.end() ||
                         given.floats[at] == 1,
                     "it changes the batch");
  }
  attributes["axes"] = changed;
  if (scales != nullptr)
    attributes["scales"] = wanted_scales;
  else
    attributes["sizes"] = wanted_sizes;
  return !changed.empty();
}

/// A parameter of a node of another type, which decides whether it learns.
int add_parameter_as(Importer& importer, const ImportNode& node, const std::string& type, int number,
                     const Constant& constant, const Shape& shape) {
  const ImportNode other{node.proto, type, node.name, node.own};
  Role role = importer.role_of(other, number, constant.shape);
  role.shape = shape;
  return importer.add_parameter(other, number, constant, role);
}

Constant filled_with(float value, int64_t count) {
  return float_constant({count}, std::vector<float>(static_cast<size_t>(count), value));
}

bool is_all(const Constant& constant, float wanted) {
  return !constant.open && constant.floating &&
         std::all_of(constant.floats.begin(), constant.floats.end(), [&](float v) { return v == wanted; });
}

/// One that the file's exporter made up: not learned.
int add_constant(Importer& importer, const ImportNode& node, int number, Constant constant) {
  constant.origin.clear();
  return add_parameter_as(importer, node, "Mul", number, constant, constant.shape);
}

/// Normalised with one scale and one bias for each group behind it.
Value norm_by_groups(Importer& importer, const ImportNode& node, const Value& value,
                     const ops::Attributes& attributes) {
  const Constant &scale = importer.required(node, 1), &bias = importer.required(node, 2);
  const Shape whole = importer.shape(value);
  const int64_t groups = scale.elements();
  const ImportNode unit{node.proto, node.type, node.name + ".unit", node.own};
  Operands operands{attributes, {value}, {}};
  operands.parameters = {add_constant(importer, unit, 1, filled_with(1, whole.front())),
                         add_constant(importer, unit, 2, filled_with(0, whole.front()))};
  const Value normalised = importer.append(node.type, node.name, std::move(operands));
  const bool made_up = scale.origin.empty() && bias.origin.empty();
  if (made_up && is_all(scale, 1) && is_all(bias, 0)) return normalised;
  Value result =
      importer.reshaped(node.name + ".groups", normalised, {groups, element_count(whole) / groups});
  for (const auto& [number, type] : {std::pair{1, "Mul"}, {2, "Add"}}) {
    const Constant& constant = importer.required(node, number);
    // What the file computes, not holds, is no weight of it.
    const std::string as = constant.origin.empty() ? type : node.type;
    const int parameter = add_parameter_as(importer, node, as, number, constant, {groups, 1});
    result = importer.append(type, node.name + (number == 1 ? ".scaled" : ".shifted"),
                             {{}, {result}, {parameter}});
  }
  return importer.reshaped(node.name + ".channels", result, whole);
}

}  // namespace

void resize_rule(Importer& importer, const ImportNode& node) {
  importer.require_one_output(node);
  const Value& value = importer.required_value(node, 0);
  ops::Attributes attributes = importer.attributes(node);
  // Of modes that Lepton's Resize refuses by name.
  for (const char* name : {"cubic_coeff_a", "exclude_outside", "extrapolation_value"}) attributes.erase(name);
  if (ops::int_attribute(attributes, "antialias", 0) == 0) attributes.erase("antialias");
  const ResizedAxes axes = resized_axes(importer, value, attributes);
  if (!set_extent(importer, node, axes, attributes)) return importer.give(node, 0, value);
  const Value result = importer.append("Resize", node.name, {std::move(attributes), {{value.index, 0}}, {}});
  importer.give(node, 0, value.with(result.index));
}

void group_norm_rule(Importer& importer, const ImportNode& node) {
  importer.require_one_output(node);
  const Value value = importer.required_value(node, 0);
  const Constant &scale = importer.required(node, 1), &bias = importer.required(node, 2);
  ops::Attributes attributes = importer.attributes(node);
  attributes.erase("stash_type");  // Lepton computes in float32
  const int64_t groups = ops::int_attribute(attributes, "num_groups", 0),
                channels = importer.shape(value).front();
  require_import(value.batch_axis == 0 && scale.elements() == bias.elements(),
                 "its scale and bias do not fit");
  const bool by_groups = groups > 0 && scale.elements() == groups && groups != channels;
  require_import(
      by_groups || scale.elements() == channels,
      "its scale " + shape_text(scale.shape) + " has a number neither for each channel nor for each group");
  if (by_groups) return importer.give(node, 0, norm_by_groups(importer, node, value, attributes));
  Operands operands{std::move(attributes), {value}, {}};
  for (const int number : {1, 2})
    operands.parameters.push_back(
        add_parameter_as(importer, node, node.type, number, importer.required(node, number), {channels}));
  importer.give(node, 0, importer.append(node.type, node.name, std::move(operands)));
}

/// Ones and zeros that are no tensors of the file, or stand in a GroupNormalization as PyTorch writes it,
/// between two Reshapes, are none of the network's weights.
void instance_norm_rule(Importer& importer, const ImportNode& node) {
  importer.require_one_output(node);
  const Constant &scale = importer.required(node, 1), &bias = importer.required(node, 2);
  const messages::NodeProto *before = importer.producer(node.proto.input(0)),
                            *behind = importer.only_consumer(node);
  const bool grouped = before != nullptr && before->op_type() == "Reshape" && behind != nullptr &&
                       behind->op_type() == "Reshape";
  const bool made_up =
      is_all(scale, 1) && is_all(bias, 0) && (grouped || (scale.origin.empty() && bias.origin.empty()));
  if (!made_up) return importer.add_by_table(node);
  Operands operands{importer.attributes(node), {importer.required_value(node, 0)}, {}};
  operands.parameters = {add_constant(importer, node, 1, scale), add_constant(importer, node, 2, bias)};
  importer.give(node, 0, importer.append(node.type, node.name, std::move(operands)));
}

}  // namespace lepton::onnx
