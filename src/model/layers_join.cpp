// SPDX-License-Identifier: Apache-2.0
// Layers that join several outputs, which `from` names.
#include "model/layers.h"

namespace lepton::model {

namespace {

/// From left to right; the last result has the layer's name.
int build_chain(const LayerContext& context, const char* type, const char* between,
                const std::string& activation) {
  const Shape shape = context.shape();
  int result = context.input;
  for (size_t k = 1; k < context.inputs.size(); ++k) {
    const Shape& next = context.builder.shape(context.inputs[k]);
    if (next != shape)
      context.options.error("from",
                            "it joins outputs of one shape, but the first is " + shape_text(shape) +
                                " and number " + std::to_string(k + 1) + " is " + shape_text(next),
                            "");
    const bool last = k + 1 == context.inputs.size();
    const std::string name = last ? context.name : context.name + between + std::to_string(k);
    result =
        context.builder.add_node(type, name, {}, {result, context.inputs[k]}, {}, context.layer.position);
  }
  return build_activation(context, context.name, activation, result);
}

BuildStep read_chain(const LayerReader& reader, const char* type, const char* between) {
  const std::string activation = read_activation_option(reader.options);
  return [=](const LayerContext& context) { return build_chain(context, type, between, activation); };
}

/// `axis` counts from 1, 0: the usual one.
int build_concat(const LayerContext& context, int64_t axis) {
  const auto rank = std::ssize(context.shape());
  if (axis == 0) axis = rank > 2 ? 1 : rank;
  return context.builder.add_node("Concat", context.name, {{"axis", axis}}, context.inputs, {},
                                  context.layer.position);
}

}  // namespace

BuildStep read_concat(const LayerReader& reader) {
  const int64_t axis = reader.options.has("axis") ? reader.options.required_integer("axis", INT32_MIN) : 0;
  if (reader.options.has("axis") && axis == 0)
    reader.options.error("axis", "axis = 0 is the batch dimension", "The first of a sample is 1.");
  return [axis](const LayerContext& context) { return build_concat(context, axis); };
}

BuildStep read_add(const LayerReader& reader) {
  return read_chain(reader, "Add", ".sum_");
}

BuildStep read_multiply(const LayerReader& reader) {
  return read_chain(reader, "Mul", ".product_");
}

}  // namespace lepton::model
