// SPDX-License-Identifier: Apache-2.0
// Activations, as layers of their own and as the option `activation` of dense, conv2d and residual. The
// executor fuses them into the node before where it can; the graph always holds them as nodes.
#include <algorithm>
#include <array>

#include "model/layers.h"

namespace lepton::model {

namespace {

struct ActivationRow {
  const char* name;
  const char* type;
  double alpha;  ///< default; 0 = has none
  bool relu_like;
  const char* approximate = nullptr;  ///< ONNX attribute of that name
};

constexpr std::array<ActivationRow, 15> rows = {{
    {"relu", "Relu", 0, true},
    {"leaky_relu", "LeakyRelu", 0.01, true},
    {"elu", "Elu", 1.0, true},
    {"selu", "Selu", 0, false},  // its constants suppose variances of 1
    {"gelu", "Gelu", 0, true},
    {"gelu_tanh", "Gelu", 0, true, "tanh"},
    {"silu", "Swish", 0, true},
    {"swish", "Swish", 1.0, true},
    {"mish", "Mish", 0, true},
    {"softplus", "Softplus", 0, true},
    {"sigmoid", "Sigmoid", 0, false},
    {"hard_sigmoid", "HardSigmoid", 0.2, false},
    {"tanh", "Tanh", 0, false},
    {"softmax", "Softmax", 0, false},
    {"log_softmax", "LogSoftmax", 0, false},
}};

const ActivationRow* find_activation(const std::string& name) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const ActivationRow& row) { return name == row.name; });
  return found == rows.end() ? nullptr : &*found;
}

int append(const LayerContext& context, const ActivationRow& row, const std::string& name, double alpha,
           int value) {
  ops::Attributes attributes;
  if (row.alpha != 0) attributes["alpha"] = alpha;
  if (row.approximate) attributes["approximate"] = std::string(row.approximate);
  if (std::string(row.type).ends_with("Softmax")) {
    const bool channels = context.builder.shape(value).size() > 2;
    attributes["axis"] = int64_t{channels ? 1 : -1};
  }
  return context.builder.add_node(row.type, name, std::move(attributes), {value}, {}, context.layer.position);
}

}  // namespace

std::vector<std::string> activation_names() {
  std::vector<std::string> names;
  for (const ActivationRow& row : rows) names.emplace_back(row.name);
  return names;
}

std::string activation_operator(const std::string& name) {
  const ActivationRow* row = find_activation(name);
  return row == nullptr ? "" : row->type;
}

bool is_relu_like(const std::string& activation) {
  const ActivationRow* row = find_activation(activation);
  return activation == "prelu" || (row != nullptr && row->relu_like);
}

std::string read_activation_option(const LayerOptions& options, const std::string& otherwise) {
  std::vector<std::string> choices = activation_names();
  choices.emplace_back("none");
  return options.choice("activation", otherwise, choices);
}

int build_activation(const LayerContext& context, const std::string& name, const std::string& activation,
                     int value) {
  const ActivationRow* row = find_activation(activation);
  return row == nullptr ? value : append(context, *row, name + "." + activation, row->alpha, value);
}

/// He et al. 2015: a slope for each channel or feature, which does not decay.
BuildStep read_prelu(const LayerReader& reader) {
  const double initial = reader.options.number("initial", 0.25, 0);
  return [initial](const LayerContext& context) {
    const Shape& input = context.shape();
    Shape slopes = {input.back()};
    if (input.size() > 2) {
      slopes.assign(input.size(), 1);
      slopes.front() = input.front();
    }
    const int slope = context.builder.add_parameter(context.name + ".slope", slopes,
                                                    {.kind = Initialiser::Kind::constant, .value = initial});
    return context.builder.add_node("PRelu", context.name, {}, {context.input}, {slope},
                                    context.layer.position);
  };
}

BuildStep read_activation_layer(const LayerReader& reader) {
  const ActivationRow* row = find_activation(reader.layer.type);
  CHECK(row != nullptr, reader.layer.type);
  const double alpha = row->alpha == 0 ? 0 : reader.options.positive_number("alpha", row->alpha);
  return [row, alpha](const LayerContext& context) {
    return append(context, *row, context.name, alpha, context.input);
  };
}

}  // namespace lepton::model
