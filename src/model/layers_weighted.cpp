// SPDX-License-Identifier: Apache-2.0
// Layers with weights: what they share, and dense (Gemm, weight [units, inputs]). Initial values: He et al.
// 2015 before activations of the relu family, otherwise Glorot and Bengio 2010; biases start at 0 and neither
// decay nor take L2.
#include <map>

#include "model/layers.h"

namespace lepton::model {

namespace {

using Kind = Initialiser::Kind;

Initialiser read_initialiser(const LayerReader& reader) {
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
  const std::string usual = is_relu_like(reader.follower) ? "he_normal" : "glorot_uniform";
  Initialiser initialiser;
  initialiser.kind = kinds.at(reader.options.choice("init", usual, names));
  initialiser.deviation = reader.options.positive_number("init_deviation", 0.01);
  if (reader.options.has("init_deviation") && initialiser.kind != Kind::normal)
    reader.options.error("init_deviation", "init_deviation has no effect without init = \"normal\"", "");
  return initialiser;
}

int build_dense(const LayerContext& context, int64_t units, const WeightOptions& weights) {
  const Shape& input = context.shape();
  if (input.size() > 2)
    context.error("a dense layer takes a flat input [features] or a sequence [length, features], but its " +
                      std::string("input is ") + shape_text(input),
                  "Put { type = \"flatten\" } (or global_avg_pool2d) before it.");
  return add_dense(context, context.name, context.input, units, weights);
}

}  // namespace

WeightOptions read_weight_options(const LayerReader& reader) {
  WeightOptions weights;
  weights.initialiser = read_initialiser(reader);
  if (reader.options.has("l2")) weights.l2 = reader.options.number("l2", 0, 0);
  weights.bias = reader.options.boolean("bias", true);
  weights.activation = read_activation_option(reader.options);
  return weights;
}

std::vector<int> add_weight_and_bias(const LayerContext& context, const std::string& name,
                                     const WeightOptions& options, const Shape& weight, int64_t outputs,
                                     int64_t fan_in, int64_t fan_out) {
  if (too_large(weight))
    context.error("its weights " + shape_text(weight) + " are too large for any machine", "");
  Initialiser initialiser = options.initialiser;
  initialiser.fan_in = fan_in;
  initialiser.fan_out = fan_out;
  const double l2 = options.l2.value_or(context.model.l2);
  std::vector<int> parameters = {
      context.builder.add_parameter(name + ".weight", weight, initialiser, true, l2)};
  if (options.bias) parameters.push_back(context.builder.add_parameter(name + ".bias", {outputs}, {}));
  return parameters;
}

int add_dense(const LayerContext& context, const std::string& name, int value, int64_t units,
              const WeightOptions& weights) {
  const int64_t inputs = context.builder.shape(value).back();
  std::vector<int> parameters =
      add_weight_and_bias(context, name, weights, {units, inputs}, units, inputs, units);
  const int sum = context.builder.add_node("Gemm", name, {{"transB", int64_t{1}}}, {value},
                                           std::move(parameters), context.layer.position);
  return build_activation(context, name, weights.activation, sum);
}

BuildStep read_dense(const LayerReader& reader) {
  const int64_t units = reader.options.required_integer("units", 1);
  return [units, weights = read_weight_options(reader)](const LayerContext& context) {
    return build_dense(context, units, weights);
  };
}

}  // namespace lepton::model
