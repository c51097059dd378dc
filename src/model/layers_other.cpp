// SPDX-License-Identifier: Apache-2.0
// Normalisation, dropout, reshaping and residual layers. Parameters carry PyTorch's names (weight, bias,
// running_mean, running_var), so that safetensors files are readable elsewhere without a table.
#include "model/layers.h"

namespace lepton::model {

namespace {

using Kind = Initialiser::Kind;

/// Appends a node without parameters behind the layer's input.
int append(const LayerContext& context, const char* type, ops::Attributes attributes) {
  return context.builder.add_node(type, context.name, std::move(attributes), {context.input}, {},
                                  context.layer.position);
}

int build_batch_norm(const LayerContext& context, double momentum, double epsilon) {
  GraphBuilder& builder = context.builder;
  const bool sequence = context.shape().size() == 2;
  const int value = sequence ? channels_first(context, 1, "") : context.input;
  const Shape channels = {builder.shape(value).front()};
  CHECK(builder.set_statistics_momentum(momentum), "reading has refused several momenta: " + context.name);
  const std::vector<int> parameters = {
      builder.add_parameter(context.name + ".weight", channels, {.kind = Kind::ones}),
      builder.add_parameter(context.name + ".bias", channels, {}),
      builder.add_statistic(context.name + ".running_mean", channels, Kind::zeros),
      builder.add_statistic(context.name + ".running_var", channels, Kind::ones),
  };
  ops::Attributes attributes = {{"epsilon", epsilon}, {"momentum", momentum}};
  if (builder.freezes()) attributes["training_mode"] = int64_t{0};  // by the running statistics, which stay
  const int result = builder.add_node("BatchNormalization", context.name, std::move(attributes), {value},
                                      parameters, context.layer.position);
  return from_channels_first(context, result);
}

/// `shape` holds positive dimensions and at most one -1.
int build_reshape(const LayerContext& context, Shape shape) {
  const Shape& input = context.shape();
  int64_t known = 1;
  int64_t* open = nullptr;
  for (int64_t& dimension : shape) {
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
  return append(context, "Reshape", {{"shape", shape}});
}

struct ResidualLayers {
  std::vector<ReadLayer> layers, projection;  ///< without a projection the shortcut is the input itself
  std::string activation;
};

int build_residual(const LayerContext& context, const ResidualLayers& residual) {
  const int branch = build_layers(context.builder, context.model, residual.layers, {context.input});
  const int shortcut = build_layers(context.builder, context.model, residual.projection, {context.input});
  const Shape& sum_shape = context.builder.shape(branch);
  const Shape& shortcut_shape = context.builder.shape(shortcut);
  if (sum_shape != shortcut_shape)
    context.error(
        "its layers give " + shape_text(sum_shape) + " but its shortcut gives " + shape_text(shortcut_shape) +
            ", and the two cannot be added",
        !residual.projection.empty()
            ? "Let layers and projection end in one shape."
            : "Add a projection = [...] that brings the input to the shape of the layers' output, for "
              "example a conv2d with kernel = 1 and the same filters and stride.");
  const int sum = context.builder.add_node("Add", context.name + ".add", {}, {branch, shortcut}, {},
                                           context.layer.position);
  return build_activation(context, context.name, residual.activation, sum);
}

}  // namespace

int add_layer_norm(const LayerContext& context, const std::string& name, int value, bool centred,
                   double epsilon) {
  const Shape input = context.builder.shape(value);
  const bool sequence = input.size() == 2;  // each of its rows
  const Shape row = sequence ? Shape{input.back()} : input;
  std::vector<int> parameters = {context.builder.add_parameter(name + ".weight", row, {.kind = Kind::ones})};
  if (centred) parameters.push_back(context.builder.add_parameter(name + ".bias", row, {}));
  return context.builder.add_node(centred ? "LayerNormalization" : "RMSNormalization", name,
                                  {{"epsilon", epsilon}, {"axis", int64_t{sequence ? -1 : 1}}}, {value},
                                  std::move(parameters), context.layer.position);
}

/// Ioffe and Szegedy 2015; statistics of the unit (ghost batch norm), per channel or feature.
BuildStep read_batch_norm(const LayerReader& reader) {
  const double momentum = reader.options.number("momentum", 0.9, 0, 1);
  const double epsilon = reader.options.positive_number("epsilon", 1e-5);
  std::optional<double>& shared = reader.network.statistics_momentum;
  if (shared && *shared != momentum)
    reader.options.error("momentum",
                         "all batch_norm layers of a model share one momentum, but " + option_text(momentum) +
                             " stands here and " + option_text(*shared) + " before",
                         "Give all of them the same momentum (the default is 0.9).");
  shared = momentum;
  return [momentum, epsilon](const LayerContext& context) {
    return build_batch_norm(context, momentum, epsilon);
  };
}

/// Ba, Kiros and Hinton 2016; over all of a sample's elements (of a sequence: of each row), with a weight and
/// a bias for each.
BuildStep read_layer_norm(const LayerReader& reader) {
  const double epsilon = reader.options.positive_number("epsilon", 1e-5);
  return [epsilon](const LayerContext& context) {
    return add_layer_norm(context, context.name, context.input, true, epsilon);
  };
}

/// Zhang and Sennrich 2019; as layer_norm, with a weight for each.
BuildStep read_rms_norm(const LayerReader& reader) {
  const double epsilon = reader.options.positive_number("epsilon", 1e-5);
  return [epsilon](const LayerContext& context) {
    return add_layer_norm(context, context.name, context.input, false, epsilon);
  };
}

/// Srivastava et al. 2014, scaled by 1 / (1 - rate) in training.
BuildStep read_dropout(const LayerReader& reader) {
  const double rate = reader.options.number("rate", 0.5, 0, 1);
  return [rate](const LayerContext& context) { return append(context, "Dropout", {{"ratio", rate}}); };
}

BuildStep read_flatten(const LayerReader&) {
  return [](const LayerContext& context) { return append(context, "Flatten", {{"axis", int64_t{1}}}); };
}

BuildStep read_reshape(const LayerReader& reader) {
  const Shape shape = reader.options.required_integers("shape");
  bool open = false;
  for (const int64_t dimension : shape) {
    const bool second_open = dimension == -1 && open;
    if (second_open || dimension == 0 || dimension < -1)
      reader.options.error("shape", "shape = " + shape_text(shape) + " is not a shape",
                           "Dimensions are positive; one may be -1 and is then computed.");
    open = open || dimension == -1;
  }
  return [shape](const LayerContext& context) { return build_reshape(context, shape); };
}

/// He et al. 2016: activation(layers(x) + projection(x)); without a projection the shortcut is x itself.
BuildStep read_residual(const LayerReader& reader) {
  const auto& nested = reader.layer.nested;
  const auto layers = nested.find("layers"), projection = nested.find("projection");
  if (layers == nested.end() || layers->second.empty())
    reader.error("a residual layer needs a list layers = [...] with at least one layer", "");
  ResidualLayers residual;
  residual.activation = read_activation_option(reader.options);
  residual.layers = read_layers(reader.network, layers->second, reader.name + ".", reader.follower);
  if (projection != nested.end())
    residual.projection =
        read_layers(reader.network, projection->second, reader.name + ".projection.", reader.follower);
  return [residual](const LayerContext& context) { return build_residual(context, residual); };
}

}  // namespace lepton::model
