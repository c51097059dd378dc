// SPDX-License-Identifier: Apache-2.0
// Layers that slide a window: over sequences [length, features] (NAME1d), images [channels, height, width]
// (NAME2d) and volumes [channels, depth, height, width] (NAME3d): what they share, and the pooling layers.
// Operators have channels first; so a sequence is transposed for them and back, which moves nothing in
// memory. padding = "valid" (the default, as in Keras and PyTorch: none), "same" (output = input / stride,
// rounded up; the odd row or column goes to the end, as in ONNX's SAME_UPPER), or explicit numbers.
#include <algorithm>

#include "model/layers.h"

namespace lepton::model {

namespace {

struct Pads {
  Extent begin, end;
};

Pads pads_of(const Shape& input, const Window& window, const Extent& reach) {
  if (!window.same) return {window.padding, window.padding};
  Pads pads;
  for (size_t d = 0; d < reach.size(); ++d) {
    const int64_t length = input[d + 1];
    const int64_t outputs = (length + window.stride[d] - 1) / window.stride[d];
    const int64_t total = std::max<int64_t>((outputs - 1) * window.stride[d] + reach[d] - length, 0);
    pads.begin.push_back(total / 2);
    pads.end.push_back(total - total / 2);
  }
  return pads;
}

Extent joined(Extent begin, const Extent& end) {
  begin.insert(begin.end(), end.begin(), end.end());
  return begin;
}

/// [T, F] to [F, T], or the way back.
int turned(const LayerContext& context, const std::string& name, int value) {
  return context.builder.add_node("Transpose", name, {{"perm", std::vector<int64_t>{0, 2, 1}}}, {value}, {},
                                  context.layer.position);
}

int build_pool(const LayerContext& context, const char* type, const Window& window) {
  const int value = channels_first(context, window.kernel.size(), "It belongs before the flatten layer.");
  ops::Attributes attributes = window_attributes(context, value, window);
  attributes.erase("dilations");
  const int result = context.builder.add_node(type, context.name, std::move(attributes), {value}, {},
                                              context.layer.position);
  return from_channels_first(context, result);
}

BuildStep read_pool(const LayerReader& reader, const char* type) {
  const size_t axes = axes_of(reader.layer.type);
  const Extent size = reader.options.extent("size", Extent(axes, 2), 1);
  Window window = {size, reader.options.extent("stride", size, 1), Extent(axes, 1)};
  // With a padding of half the window or less every window holds at least one input (PyTorch has the same
  // rule).
  Extent most = size;
  for (int64_t& one : most) one /= 2;
  read_padding(reader.options, most, window);
  return [type, window](const LayerContext& context) { return build_pool(context, type, window); };
}

int build_global_pool(const LayerContext& context, const char* type) {
  const int value = channels_first(context, axes_of(context.layer.type), "");
  std::vector<int> inputs = {value};
  if (const int lengths = lengths_of(context); lengths >= 0) inputs.push_back(lengths);
  const int pooled =
      context.builder.add_node(type, context.name, {}, std::move(inputs), {}, context.layer.position);
  return context.builder.add_node("Flatten", context.name + ".flatten", {}, {pooled}, {},
                                  context.layer.position);
}

}  // namespace

size_t axes_of(const std::string& type) {
  const size_t digit = type.find_first_of("123");
  CHECK(digit != std::string::npos, type);
  return static_cast<size_t>(type[digit] - '0');
}

int channels_first(const LayerContext& context, size_t axes, const std::string& hint) {
  static const char* const taken[] = {"", "a sequence [length, features]", "[channels, height, width]",
                                      "[channels, depth, height, width]"};
  const Shape& input = context.shape();
  if (input.size() != axes + 1)
    context.error(
        "a " + context.layer.type + " layer takes " + taken[axes] + ", but its input is " + shape_text(input),
        hint);
  return axes == 1 ? turned(context, context.name + ".channels_first", context.input) : context.input;
}

int from_channels_first(const LayerContext& context, int value) {
  return context.builder.shape(value).size() == 2 ? turned(context, context.name + ".sequence", value)
                                                  : value;
}

void read_padding(const LayerOptions& options, const Extent& most, Window& window) {
  const size_t axes = most.size();
  window.padding = Extent(axes, 0);
  if (!options.has("padding") || options.is_text("padding")) {
    window.same = options.choice("padding", "valid", {"valid", "same"}) == "same";
    return;
  }
  const Extent pad = options.required_extent("padding", axes, 0);
  for (size_t d = 0; d < axes; ++d)
    if (pad[d] > most[d])
      options.error("padding", "a padding of " + shape_text(pad) + " leaves windows without any input",
                    "At most " + shape_text(most) + " is possible with this window.");
  window.padding = pad;
}

ops::Attributes window_attributes(const LayerContext& context, int value, const Window& window) {
  const size_t axes = window.kernel.size();
  Extent reach;
  for (size_t d = 0; d < axes; ++d) reach.push_back(window.dilation[d] * (window.kernel[d] - 1) + 1);
  const Shape& input = context.builder.shape(value);
  const Pads pads = pads_of(input, window, reach);
  for (size_t d = 0; d < axes; ++d)
    if (input[d + 1] + pads.begin[d] + pads.end[d] < reach[d])
      context.error("its window " + shape_text(reach) + " is larger than its input " +
                        shape_text(context.shape()) + " with padding " +
                        shape_text(joined(pads.begin, pads.end)),
                    "Use a smaller window, padding = \"same\", or fewer pooling layers before it.");
  return {
      {"kernel_shape", window.kernel},
      {"strides", window.stride},
      {"dilations", window.dilation},
      {"pads", joined(pads.begin, pads.end)},
  };
}

BuildStep read_max_pool(const LayerReader& reader) {
  return read_pool(reader, "MaxPool");
}

BuildStep read_avg_pool(const LayerReader& reader) {
  return read_pool(reader, "AveragePool");
}

BuildStep read_global_avg_pool(const LayerReader&) {
  return [](const LayerContext& context) { return build_global_pool(context, "GlobalAveragePool"); };
}

BuildStep read_global_max_pool(const LayerReader&) {
  return [](const LayerContext& context) { return build_global_pool(context, "GlobalMaxPool"); };
}

}  // namespace lepton::model
