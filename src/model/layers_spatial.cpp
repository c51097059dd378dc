// SPDX-License-Identifier: Apache-2.0
// Layers that know positions and channels but have no windows: group_norm and instance_norm, upsample and
// zero_pad in one to three dimensions, permute. As with windows, a sequence [length, features] is turned for
// operators that have channels first and turned back, which moves nothing in memory.
#include <algorithm>
#include <numeric>

#include "model/layers.h"

namespace lepton::model {

namespace {

using Kind = Initialiser::Kind;

/// A node on the input with channels first, and the way back.
int add_channelwise(const LayerContext& context, const char* type, ops::Attributes attributes, int value,
                    std::vector<int> parameters) {
  const bool sequence = context.shape().size() == 2;
  const int result = context.builder.add_node(type, context.name, std::move(attributes), {value},
                                              std::move(parameters), context.layer.position);
  return sequence ? from_channels_first(context, result) : result;
}

int build_norm(const LayerContext& context, const char* type, int64_t groups, double epsilon) {
  GraphBuilder& builder = context.builder;
  const bool sequence = context.shape().size() == 2;
  const int value = sequence ? channels_first(context, 1, "") : context.input;
  const Shape channels = {builder.shape(value).front()};
  if (groups > 0 && channels[0] % groups != 0)
    context.options.error("groups",
                          std::to_string(channels[0]) + " channels cannot be divided into " +
                              std::to_string(groups) + " groups",
                          "");
  ops::Attributes attributes = {{"epsilon", epsilon}};
  if (groups > 0) attributes["num_groups"] = groups;
  const std::vector<int> parameters = {
      builder.add_parameter(context.name + ".weight", channels, {.kind = Kind::ones}),
      builder.add_parameter(context.name + ".bias", channels, {})};
  return add_channelwise(context, type, std::move(attributes), value, parameters);
}

/// ONNX axes of positions, behind batch and channels.
std::vector<int64_t> position_axes(size_t axes) {
  std::vector<int64_t> numbers(axes);
  std::iota(numbers.begin(), numbers.end(), 2);
  return numbers;
}

int build_upsample(const LayerContext& context, const Extent& scale, const std::string& mode) {
  const int value = channels_first(context, scale.size(), "");
  // As PyTorch: repeated to the right and below; between the centres of elements.
  const bool nearest = mode == "nearest";
  return add_channelwise(
      context, "Resize",
      {{"axes", position_axes(scale.size())},
       {"scales", std::vector<double>(scale.begin(), scale.end())},
       {"mode", mode},
       {"coordinate_transformation_mode", std::string(nearest ? "asymmetric" : "half_pixel")},
       {"nearest_mode", std::string("floor")}},
      value, {});
}

int build_zero_pad(const LayerContext& context, const Extent& padding) {
  const int value = channels_first(context, padding.size(), "");
  std::vector<int64_t> pads = padding;
  pads.insert(pads.end(), padding.begin(), padding.end());
  return add_channelwise(context, "Pad", {{"axes", position_axes(padding.size())}, {"pads", pads}}, value,
                         {});
}

}  // namespace

/// Wu and He 2018.
BuildStep read_group_norm(const LayerReader& reader) {
  const int64_t groups = reader.options.integer("groups", 32, 1);
  const double epsilon = reader.options.positive_number("epsilon", 1e-5);
  return [groups, epsilon](const LayerContext& context) {
    return build_norm(context, "GroupNormalization", groups, epsilon);
  };
}

/// Ulyanov, Vedaldi and Lempitsky 2016, with a weight and a bias for each channel.
BuildStep read_instance_norm(const LayerReader& reader) {
  const double epsilon = reader.options.positive_number("epsilon", 1e-5);
  return [epsilon](const LayerContext& context) {
    if (context.shape().size() == 1)
      context.error("an instance_norm layer normalises channels over positions, but its input " +
                        shape_text(context.shape()) + " has none",
                    "Use layer_norm or batch_norm.");
    return build_norm(context, "InstanceNormalization", 0, epsilon);
  };
}

BuildStep read_upsample(const LayerReader& reader) {
  const Extent scale = reader.options.extent("scale", Extent(axes_of(reader.layer.type), 2), 1);
  const std::string mode = reader.options.choice("mode", "nearest", {"nearest", "linear"});
  return [scale, mode](const LayerContext& context) { return build_upsample(context, scale, mode); };
}

BuildStep read_zero_pad(const LayerReader& reader) {
  const Extent padding = reader.options.required_extent("padding", axes_of(reader.layer.type), 0);
  return [padding](const LayerContext& context) { return build_zero_pad(context, padding); };
}

BuildStep read_permute(const LayerReader& reader) {
  const std::vector<int64_t> order = reader.options.required_integers("order");
  std::vector<int64_t> sorted = order, numbers(order.size());
  std::sort(sorted.begin(), sorted.end());
  std::iota(numbers.begin(), numbers.end(), 1);
  if (order.empty() || sorted != numbers)
    reader.options.error("order", "order = " + shape_text(order) + " does not name each dimension once",
                         "Dimensions count from 1: [2, 1] swaps two.");
  return [order](const LayerContext& context) {
    if (order.size() != context.shape().size())
      context.options.error(
          "order", "order = " + shape_text(order) + " does not fit the input " + shape_text(context.shape()),
          "It needs a number for each dimension.");
    std::vector<int64_t> perm = order;
    perm.insert(perm.begin(), 0);
    return context.builder.add_node("Transpose", context.name, {{"perm", perm}}, {context.input}, {},
                                    context.layer.position);
  };
}

}  // namespace lepton::model
