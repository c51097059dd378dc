// SPDX-License-Identifier: Apache-2.0
// Layers with weights: dense (Gemm, weight [units, inputs]) and conv2d (Conv, weight [filters, channels /
// groups, height, width]). Initial values: He et al. 2015 before activations of the relu family, otherwise
// Glorot and Bengio 2010; biases start at 0 and neither decay nor take L2.
#include "model/layers.h"

namespace lepton::model {

namespace {

using Kind = Initialiser::Kind;

Initialiser weight_initialiser(const LayerContext& context, int64_t fan_in, int64_t fan_out) {
  static const std::map<std::string, Kind> kinds = {
      {"he_normal", Kind::he_normal},
      {"he_uniform", Kind::he_uniform},
      {"glorot_normal", Kind::glorot_normal},
      {"glorot_uniform", Kind::glorot_uniform},
      {"normal", Kind::normal},
      {"zeros", Kind::zeros},
  };
  std::vector<std::string> names;
  for (const auto& [name, kind] : kinds) names.push_back(name);
  const std::string usual = is_relu_like(context.follower) ? "he_normal" : "glorot_uniform";
  Initialiser initialiser;
  initialiser.kind = kinds.at(context.options.choice("init", usual, names));
  initialiser.deviation = context.options.positive_number("init_deviation", 0.01);
  initialiser.fan_in = fan_in;
  initialiser.fan_out = fan_out;
  if (context.options.has("init_deviation") && initialiser.kind != Kind::normal)
    context.options.error("init_deviation", "init_deviation has no effect without init = \"normal\"", "");
  return initialiser;
}

std::vector<int> add_weight_and_bias(LayerContext& context, const Shape& weight, int64_t fan_in,
                                     int64_t fan_out) {
  if (too_large(weight))
    context.error("its weights " + shape_text(weight) + " are too large for any machine", "");
  const Initialiser initialiser = weight_initialiser(context, fan_in, fan_out);
  const double l2 = context.options.number("l2", context.model.l2, 0);
  std::vector<int> parameters = {
      context.builder.add_parameter(context.name + ".weight", weight, initialiser, true, l2)};
  if (context.options.boolean("bias", true))
    parameters.push_back(context.builder.add_parameter(context.name + ".bias", {weight.front()}, {}));
  return parameters;
}

}  // namespace

int build_dense(LayerContext& context) {
  const Shape& input = context.shape();
  const int64_t units = context.options.required_integer("units", 1);
  if (input.size() != 1)
    context.error("a dense layer takes a flat input [features], but its input is " + shape_text(input),
                  "Put { type = \"flatten\" } (or global_avg_pool2d) before it.");
  std::vector<int> parameters = add_weight_and_bias(context, {units, input[0]}, input[0], units);
  const int sum = context.builder.add_node("Gemm", context.name, {{"transB", int64_t{1}}}, {context.input},
                                           std::move(parameters), context.layer.position);
  return build_activation_option(context, sum);
}

int build_conv2d(LayerContext& context) {
  const LayerOptions& options = context.options;
  const Shape& input = context.shape();
  const int64_t filters = options.required_integer("filters", 1);
  const int64_t groups = options.integer("groups", 1, 1);
  const Window window = {options.required_extent("kernel", 1), options.extent("stride", {1, 1}, 1),
                         options.extent("dilation", {1, 1}, 1)};
  if (input.size() != 3)
    context.error("a conv2d layer takes [channels, height, width], but its input is " + shape_text(input),
                  "Put a reshape layer before it, for example { type = \"reshape\", shape = [1, 28, 28] }.");
  if (input[0] % groups != 0 || filters % groups != 0)
    options.error("groups",
                  "groups = " + std::to_string(groups) + " does not divide both the input's " +
                      std::to_string(input[0]) + " channels and the " + std::to_string(filters) + " filters",
                  "");
  constexpr Extent any_padding = {1 << 20, 1 << 20};
  ops::Attributes attributes = window_attributes(context, window, any_padding);
  attributes["group"] = groups;
  const Shape weight = {filters, input[0] / groups, window.kernel[0], window.kernel[1]};
  const int64_t taps = window.kernel[0] * window.kernel[1];
  std::vector<int> parameters =
      add_weight_and_bias(context, weight, weight[1] * taps, filters / groups * taps);
  const int sum = context.builder.add_node("Conv", context.name, std::move(attributes), {context.input},
                                           std::move(parameters), context.layer.position);
  return build_activation_option(context, sum);
}

}  // namespace lepton::model
