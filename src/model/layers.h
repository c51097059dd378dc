// SPDX-License-Identifier: Apache-2.0
// The table of deck layer types: one row each, with its options, a sentence for the reference, and the
// function that turns it into graph nodes. Inside model only: layers.cpp holds the table and walks the lists
// of layers, the builders lie in layers_*.cpp. A new layer type is a row and a builder.
#pragma once

#include <string>
#include <vector>

#include "model/graph_builder.h"
#include "model/layer_options.h"

namespace lepton::model {

/// What a builder sees of the layer at hand.
struct LayerContext {
  GraphBuilder& builder;
  const ModelSpec& model;
  const LayerSpec& layer;
  const LayerOptions& options;
  const std::string& name;
  int input;             ///< value index
  std::string follower;  ///< deck name of the next activation, its own option included; "" if none
  const Shape& shape() const { return builder.shape(input); }
  [[noreturn]] void error(const std::string& what, const std::string& hint) const {
    layer_error(layer.position, name, what, hint);
  }
};

struct LayerRow {
  const char* type;
  const char* summary;
  std::vector<OptionRow> options;
  std::vector<const char*> nested;  ///< lists of layers
  int (*build)(LayerContext&);      ///< returns the output value
};

const std::vector<LayerRow>& layer_table();

/// Appends the layers of a list; names start with `scope`. `follower` is the activation behind the list.
int build_layers(GraphBuilder& builder, const ModelSpec& model, const std::vector<LayerSpec>& layers,
                 const std::string& scope, int input, const std::string& follower);

// layers_activation.cpp
std::vector<std::string> activation_names();
/// Deck name to ONNX operator: "leaky_relu" -> "LeakyRelu".
std::string activation_operator(const std::string& name);
/// He initialisation suits what stands before these (He et al. 2015).
bool is_relu_like(const std::string& activation);
/// Appends the option `activation` of a layer behind `value`; "none" appends nothing.
int build_activation_option(LayerContext& context, int value);
int build_activation_layer(LayerContext& context);

// layers_weighted.cpp
int build_dense(LayerContext& context);
int build_conv2d(LayerContext& context);

// layers_window.cpp
struct Window {
  Extent kernel, stride, dilation;
};
/// ONNX attributes kernel_shape, strides, dilations and explicit pads from the option `padding`; refuses
/// windows that are larger than the padded input.
ops::Attributes window_attributes(const LayerContext& context, const Window& window, Extent padding_most);
int build_max_pool2d(LayerContext& context);
int build_avg_pool2d(LayerContext& context);
int build_global_avg_pool2d(LayerContext& context);

// layers_other.cpp
int build_batch_norm(LayerContext& context);
int build_layer_norm(LayerContext& context);
int build_dropout(LayerContext& context);
int build_flatten(LayerContext& context);
int build_reshape(LayerContext& context);
int build_residual(LayerContext& context);

}  // namespace lepton::model
