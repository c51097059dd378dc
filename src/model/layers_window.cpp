// SPDX-License-Identifier: Apache-2.0
// Layers that slide a window over [channels, height, width]: the window's attributes for conv2d and pooling,
// and the pooling layers. padding = "valid" (the default, as in Keras and PyTorch: none), "same" (output =
// input / stride, rounded up; the odd row or column goes to the end, as in ONNX's SAME_UPPER), or explicit
// numbers.
#include <algorithm>

#include "model/layers.h"

namespace lepton::model {

namespace {

struct Pads {
  Extent begin, end;
};

Pads pads_of(const LayerContext& context, const Window& window, const Extent& reach) {
  if (!window.same) return {window.padding, window.padding};
  Pads pads{};
  for (size_t d = 0; d < 2; ++d) {
    const int64_t length = context.shape()[d + 1];
    const int64_t outputs = (length + window.stride[d] - 1) / window.stride[d];
    const int64_t total = std::max<int64_t>((outputs - 1) * window.stride[d] + reach[d] - length, 0);
    pads.begin[d] = total / 2;
    pads.end[d] = total - total / 2;
  }
  return pads;
}

int build_pool(const LayerContext& context, const char* type, const Window& window) {
  const Shape& input = context.shape();
  if (input.size() != 3)
    context.error("a " + context.layer.type + " layer takes [channels, height, width], but its input is " +
                      shape_text(input),
                  "It belongs before the flatten layer.");
  ops::Attributes attributes = window_attributes(context, window);
  attributes.erase("dilations");
  return context.builder.add_node(type, context.name, std::move(attributes), {context.input}, {},
                                  context.layer.position);
}

BuildStep read_pool(const LayerReader& reader, const char* type) {
  const Extent size = reader.options.extent("size", {2, 2}, 1);
  Window window = {size, reader.options.extent("stride", size, 1), {1, 1}};
  // With a padding of half the window or less every window holds at least one input (PyTorch has the same
  // rule).
  read_padding(reader.options, {size[0] / 2, size[1] / 2}, window);
  return [type, window](const LayerContext& context) { return build_pool(context, type, window); };
}

int build_global_avg_pool2d(const LayerContext& context) {
  const Shape& input = context.shape();
  if (input.size() != 3)
    context.error(
        "a global_avg_pool2d layer takes [channels, height, width], but its input is " + shape_text(input),
        "");
  const int mean = context.builder.add_node("GlobalAveragePool", context.name, {}, {context.input}, {},
                                            context.layer.position);
  if (context.builder.shape(mean).size() == 1) return mean;
  return context.builder.add_node("Flatten", context.name + ".flatten", {}, {mean}, {},
                                  context.layer.position);
}

}  // namespace

void read_padding(const LayerOptions& options, const Extent& most, Window& window) {
  if (!options.has("padding") || options.is_text("padding")) {
    window.same = options.choice("padding", "valid", {"valid", "same"}) == "same";
    return;
  }
  const Extent pad = options.required_extent("padding", 0);
  if (pad[0] > most[0] || pad[1] > most[1])
    options.error("padding",
                  "a padding of " + shape_text({pad[0], pad[1]}) + " leaves windows without any input",
                  "At most " + shape_text({most[0], most[1]}) + " is possible with this window.");
  window.padding = pad;
}

ops::Attributes window_attributes(const LayerContext& context, const Window& window) {
  Extent reach{};
  for (size_t d = 0; d < 2; ++d) reach[d] = window.dilation[d] * (window.kernel[d] - 1) + 1;
  const Pads pads = pads_of(context, window, reach);
  const Shape& input = context.shape();
  for (size_t d = 0; d < 2; ++d)
    if (input[d + 1] + pads.begin[d] + pads.end[d] < reach[d])
      context.error("its window " + shape_text({reach[0], reach[1]}) + " is larger than its input " +
                        shape_text(input) + " with padding " +
                        shape_text({pads.begin[0], pads.begin[1], pads.end[0], pads.end[1]}),
                    "Use a smaller window, padding = \"same\", or fewer pooling layers before it.");
  return {
      {"kernel_shape", std::vector<int64_t>{window.kernel[0], window.kernel[1]}},
      {"strides", std::vector<int64_t>{window.stride[0], window.stride[1]}},
      {"dilations", std::vector<int64_t>{window.dilation[0], window.dilation[1]}},
      {"pads", std::vector<int64_t>{pads.begin[0], pads.begin[1], pads.end[0], pads.end[1]}},
  };
}

BuildStep read_max_pool2d(const LayerReader& reader) {
  return read_pool(reader, "MaxPool");
}

BuildStep read_avg_pool2d(const LayerReader& reader) {
  return read_pool(reader, "AveragePool");
}

BuildStep read_global_avg_pool2d(const LayerReader&) {
  return build_global_avg_pool2d;
}

}  // namespace lepton::model
