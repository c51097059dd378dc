// SPDX-License-Identifier: Apache-2.0
// Convolutions over sequences, images and volumes (conv1d, conv2d, conv3d; Conv, weight [filters, channels /
// groups, ...]) and their transposes (conv1d_transpose, ...; ConvTranspose, weight [channels, filters /
// groups,
// ...]). Initial values and padding: see layers_weighted.cpp and layers_window.cpp.
#include <algorithm>

#include "model/layers.h"

namespace lepton::model {

namespace {

struct ConvolutionOptions {
  int64_t filters, groups;
  Window window;
  WeightOptions weights;
  Extent output_padding = {};  ///< of a transposed one
};

/// The layer's input with channels first, which the groups must divide.
int convolved(const LayerContext& context, const ConvolutionOptions& options) {
  const size_t axes = options.window.kernel.size();
  static const char* const hints[] = {
      "", "Put an embedding or a reshape layer before it.",
      "Put a reshape layer before it, for example { type = \"reshape\", shape = [1, 28, 28] }.",
      "Put a reshape layer before it, for example { type = \"reshape\", shape = [1, 64, 64, 64] }."};
  const int value = channels_first(context, axes, hints[axes]);
  const int64_t channels = context.builder.shape(value).front();
  if (channels % options.groups != 0)
    context.options.error("groups",
                          "groups = " + std::to_string(options.groups) + " does not divide the input's " +
                              std::to_string(channels) + " channels",
                          "");
  return value;
}

Shape weight_shape(int64_t first, int64_t second, const Extent& kernel) {
  Shape weight = {first, second};
  weight.insert(weight.end(), kernel.begin(), kernel.end());
  return weight;
}

int finish(const LayerContext& context, const ConvolutionOptions& options, const char* type,
           ops::Attributes attributes, int value, std::vector<int> parameters) {
  attributes["group"] = options.groups;
  const int sum = context.builder.add_node(type, context.name, std::move(attributes), {value},
                                           std::move(parameters), context.layer.position);
  return from_channels_first(context,
                             build_activation(context, context.name, options.weights.activation, sum));
}

int build_conv(const LayerContext& context, const ConvolutionOptions& options) {
  const int value = convolved(context, options);
  ops::Attributes attributes = window_attributes(context, value, options.window);
  const int64_t taps = element_count(options.window.kernel), filters = options.filters;
  const int64_t channels = context.builder.shape(value).front() / options.groups;
  std::vector<int> parameters = add_weight_and_bias(
      context, context.name, options.weights, weight_shape(filters, channels, options.window.kernel), filters,
      channels * taps, filters / options.groups * taps);
  return finish(context, options, "Conv", std::move(attributes), value, std::move(parameters));
}

int build_transposed(const LayerContext& context, const ConvolutionOptions& options) {
  const int value = convolved(context, options);
  const Window& window = options.window;
  ops::Attributes attributes = {{"kernel_shape", window.kernel},
                                {"strides", window.stride},
                                {"dilations", window.dilation},
                                {"output_padding", options.output_padding}};
  Extent pads = window.padding;
  pads.insert(pads.end(), window.padding.begin(), window.padding.end());
  if (window.same)
    attributes["auto_pad"] = std::string("SAME_UPPER");
  else
    attributes["pads"] = pads;
  const int64_t taps = element_count(window.kernel), filters = options.filters / options.groups;
  const int64_t channels = context.builder.shape(value).front();
  std::vector<int> parameters = add_weight_and_bias(
      context, context.name, options.weights, weight_shape(channels, filters, window.kernel), options.filters,
      channels / options.groups * taps, filters * taps);
  return finish(context, options, "ConvTranspose", std::move(attributes), value, std::move(parameters));
}

ConvolutionOptions read_convolution(const LayerReader& reader) {
  const LayerOptions& options = reader.options;
  const size_t axes = axes_of(reader.layer.type);
  ConvolutionOptions conv;
  conv.filters = options.required_integer("filters", 1);
  conv.groups = options.integer("groups", 1, 1);
  conv.window = {options.required_extent("kernel", axes, 1), options.extent("stride", Extent(axes, 1), 1),
                 options.extent("dilation", Extent(axes, 1), 1)};
  read_padding(options, Extent(axes, 1 << 20), conv.window);
  if (conv.filters % conv.groups != 0)
    options.error("groups",
                  "groups = " + std::to_string(conv.groups) + " does not divide the " +
                      std::to_string(conv.filters) + " filters",
                  "");
  conv.weights = read_weight_options(reader);
  return conv;
}

}  // namespace

BuildStep read_conv(const LayerReader& reader) {
  return [conv = read_convolution(reader)](const LayerContext& context) { return build_conv(context, conv); };
}

/// Zeiler et al. 2010, "deconvolution".
BuildStep read_conv_transpose(const LayerReader& reader) {
  ConvolutionOptions conv = read_convolution(reader);
  const Extent& stride = conv.window.stride;
  conv.output_padding = reader.options.extent("output_padding", Extent(stride.size(), 0), 0);
  for (size_t d = 0; d < stride.size(); ++d)
    if (conv.output_padding[d] >= std::max(stride[d], conv.window.dilation[d]))
      reader.options.error("output_padding",
                           "output_padding = " + shape_text(conv.output_padding) +
                               " is not less than the stride or the dilation",
                           "");
  return [conv](const LayerContext& context) { return build_transposed(context, conv); };
}

}  // namespace lepton::model
