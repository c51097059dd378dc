// SPDX-License-Identifier: Apache-2.0
// Normalisation, dropout, reshaping and residual layers. Parameters carry PyTorch's names (weight, bias,
// running_mean, running_var), so that safetensors files are readable elsewhere without a table.
#include "model/layers.h"

namespace lepton::model {

using Kind = Initialiser::Kind;

/// Ioffe and Szegedy 2015; statistics of the unit (ghost batch norm), per channel or feature.
int build_batch_norm(LayerContext& context) {
  const Shape channels = {context.shape().front()};
  const double momentum = context.options.number("momentum", 0.9, 0, 1);
  const double epsilon = context.options.positive_number("epsilon", 1e-5);
  GraphBuilder& builder = context.builder;
  if (!builder.set_statistics_momentum(momentum))
    context.options.error("momentum",
                          "all batch_norm layers of a model share one momentum, but " +
                              option_text(momentum) + " stands here and " +
                              option_text(builder.statistics_momentum()) + " before",
                          "Give all of them the same momentum (the default is 0.9).");
  const std::vector<int> parameters = {
      builder.add_parameter(context.name + ".weight", channels, {.kind = Kind::ones}),
      builder.add_parameter(context.name + ".bias", channels, {}),
      builder.add_statistic(context.name + ".running_mean", channels, Kind::zeros),
      builder.add_statistic(context.name + ".running_var", channels, Kind::ones),
  };
  return builder.add_node("BatchNormalization", context.name, {{"epsilon", epsilon}, {"momentum", momentum}},
                          {context.input}, parameters, context.layer.position);
}

/// Ba, Kiros and Hinton 2016; over all of a sample's elements, with a weight and a bias for each.
int build_layer_norm(LayerContext& context) {
  const double epsilon = context.options.positive_number("epsilon", 1e-5);
  const Shape& shape = context.shape();
  const std::vector<int> parameters = {
      context.builder.add_parameter(context.name + ".weight", shape, {.kind = Kind::ones}),
      context.builder.add_parameter(context.name + ".bias", shape, {}),
  };
  return context.builder.add_node("LayerNormalization", context.name,
                                  {{"epsilon", epsilon}, {"axis", int64_t{1}}}, {context.input}, parameters,
                                  context.layer.position);
}

/// Srivastava et al. 2014, scaled by 1 / (1 - rate) in training.
int build_dropout(LayerContext& context) {
  const double rate = context.options.number("rate", 0.5, 0, 1);
  return context.builder.add_node("Dropout", context.name, {{"ratio", rate}}, {context.input}, {},
                                  context.layer.position);
}

int build_flatten(LayerContext& context) {
  return context.builder.add_node("Flatten", context.name, {{"axis", int64_t{1}}}, {context.input}, {},
                                  context.layer.position);
}

int build_reshape(LayerContext& context) {
  const Shape& input = context.shape();
  std::vector<int64_t> shape = context.options.required_integers("shape");
  int64_t known = 1;
  int64_t* open = nullptr;
  for (int64_t& dimension : shape) {
    const bool second_open = dimension == -1 && open != nullptr;
    if (second_open || dimension == 0 || dimension < -1)
      context.options.error("shape", "shape = " + shape_text(shape) + " is not a shape",
                            "Dimensions are positive; one may be -1 and is then computed.");
    if (dimension == -1) open = &dimension;
    if (dimension > 0 && __builtin_mul_overflow(known, dimension, &known)) known = 0;
  }
  const int64_t elements = element_count(input);
  const std::string wanted = shape_text(shape);
  if (open != nullptr && known > 0 && elements % known == 0) *open = elements / known;
  if (known == 0 || element_count(shape) != elements)
    context.options.error("shape",
                          "cannot reshape " + shape_text(input) + " (" + std::to_string(elements) +
                              " values per sample) to " + wanted,
                          "");
  return context.builder.add_node("Reshape", context.name, {{"shape", shape}}, {context.input}, {},
                                  context.layer.position);
}

/// He et al. 2016: activation(layers(x) + projection(x)); without a projection the shortcut is x itself.
int build_residual(LayerContext& context) {
  const auto& nested = context.layer.nested;
  const auto layers = nested.find("layers");
  if (layers == nested.end() || layers->second.empty())
    context.error("a residual layer needs a list layers = [...] with at least one layer", "");
  const int branch = build_layers(context.builder, context.model, layers->second, context.name + ".",
                                  context.input, context.follower);
  int shortcut = context.input;
  if (const auto projection = nested.find("projection"); projection != nested.end())
    shortcut = build_layers(context.builder, context.model, projection->second, context.name + ".projection.",
                            context.input, context.follower);
  const Shape& sum_shape = context.builder.shape(branch);
  const Shape& shortcut_shape = context.builder.shape(shortcut);
  if (sum_shape != shortcut_shape)
    context.error(
        "its layers give " + shape_text(sum_shape) + " but its shortcut gives " + shape_text(shortcut_shape) +
            ", and the two cannot be added",
        nested.contains("projection")
            ? "Let layers and projection end in one shape."
            : "Add a projection = [...] that brings the input to the shape of the layers' output, for "
              "example a conv2d with kernel = 1 and the same filters and stride.");
  const int sum = context.builder.add_node("Add", context.name + ".add", {}, {branch, shortcut}, {},
                                           context.layer.position);
  return build_activation_option(context, sum);
}

}  // namespace lepton::model
