// SPDX-License-Identifier: Apache-2.0
// The table of deck layer types: one row each, with its options, a sentence for the reference, and the
// function that reads such a layer. Reading needs no shapes: it checks every option and gives the step that
// will build the graph's nodes once the input's shape is known. So a deck is checked (check_layers) by the
// same code that builds its graph (build_graph). layers.cpp holds the table, layer_lists.cpp walks the lists
// of layers and says who reads whom, the readers lie in layers_*.cpp. A new layer type is a row and a reader.
// check_layers and check_outputs are for train; the rest stays inside model.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/graph_builder.h"
#include "model/layer_options.h"

namespace lepton::model {

/// Checks all that a network's layers say without knowing its input: types, options, values, names, nested
/// lists. Throws Error(deck) at the place concerned.
void check_layers(const ModelSpec& spec);

/// Throws Error(deck) at the last layer when it is not flat, or not as wide as spec.outputs (0: any) asks; of
/// several outputs the same for each, at its loss. Also for a graph built before the data told how many
/// classes there are.
void check_outputs(const Graph& graph, const ModelSpec& spec);

/// What a step of building sees.
struct LayerContext {
  GraphBuilder& builder;
  const ModelSpec& model;
  const LayerSpec& layer;
  const LayerOptions& options;
  const std::string& name;
  const std::vector<int>& inputs;  ///< value indices
  int input = inputs.front();      ///< of layers that take one
  const Shape& shape() const { return builder.shape(input); }
  [[noreturn]] void error(const std::string& what, const std::string& hint) const {
    layer_error(layer.position, name, what, hint);
  }
};

/// Appends a layer's nodes and returns their output value.
using BuildStep = std::function<int(const LayerContext&)>;

/// What layers of one network must agree on, found while they are read.
struct NetworkNames {
  std::set<std::string> names;
  std::vector<std::string> complete;  ///< of layers whose parameters later ones may use, in order
  std::set<std::string> outputs;  ///< layers whose outputs losses name; none: the last one's is the output
  std::optional<double> statistics_momentum;
};

/// What a reader sees of the layer at hand.
struct LayerReader {
  NetworkNames& network;
  const LayerSpec& layer;
  const LayerOptions& options;
  const std::string& name;
  const std::string& follower;  ///< deck name of the next activation, its own option included; "" if none
  [[noreturn]] void error(const std::string& what, const std::string& hint) const {
    layer_error(layer.position, name, what, hint);
  }
};

/// How many outputs of other layers a layer reads.
struct InputCount {
  size_t least = 1, most = 1;
};
constexpr InputCount several_inputs = {2, SIZE_MAX};
constexpr InputCount one_or_with_lengths = {1, 2};  ///< from = ["a sequence", "NAME.length"]

struct LayerRow {
  const char* type;
  const char* summary;
  std::vector<OptionRow> options;
  std::vector<const char*> nested;  ///< lists of layers
  BuildStep (*read)(const LayerReader&);
  InputCount inputs = {};
};

const std::vector<LayerRow>& layer_table();
/// The row of a layer's type; Error(deck) where there is none.
const LayerRow& find_row(const LayerSpec& layer, const std::string& name);

// layer_lists.cpp
/// A layer that has been read. Refers to its LayerSpec, which must outlive it.
struct ReadLayer {
  const LayerSpec* layer;
  LayerOptions options;
  std::string name;
  BuildStep build;
  std::vector<int> sources;  ///< what it reads: places in its list, or -1 - k for input k of the list
  ParameterUse use;
};

/// Reads a list of layers; names start with `scope`. `follower` is the activation behind the list, `inputs`
/// what its layers may read beside each other's outputs: a list is a scope of its own, whose names are those
/// of its layers without `scope`. Each layer reads the one before it, the first one the first input, or what
/// its `from` names. Throws Error(deck) where that is not before it, or where nobody reads an output that is
/// not the last.
std::vector<ReadLayer> read_layers(NetworkNames& network, const std::vector<LayerSpec>& layers,
                                   const std::string& scope, const std::string& follower,
                                   const std::vector<std::string>& inputs = {"input"});
/// Appends them behind the values of the list's inputs, and returns the last one's output value; in
/// `outputs`, if not null, those of all.
int build_layers(GraphBuilder& builder, const ModelSpec& model, const std::vector<ReadLayer>& layers,
                 const std::vector<int>& inputs, std::vector<int>* outputs = nullptr);

// layers_activation.cpp
std::vector<std::string> activation_names();
/// Deck name to ONNX operator: "leaky_relu" -> "LeakyRelu".
std::string activation_operator(const std::string& name);
/// He initialisation suits what stands before these (He et al. 2015).
bool is_relu_like(const std::string& activation);
/// The option `activation` of a layer, checked: "none" or one of the names.
std::string read_activation_option(const LayerOptions& options, const std::string& otherwise = "none");
/// Appends that activation behind `value`, as NAME.ACTIVATION; "none" appends nothing.
int build_activation(const LayerContext& context, const std::string& name, const std::string& activation,
                     int value);
BuildStep read_activation_layer(const LayerReader& reader);
BuildStep read_prelu(const LayerReader& reader);

// layers_weighted.cpp
/// What layers with weights have in common.
struct WeightOptions {
  Initialiser initialiser;  ///< its fans are set when the shapes are known
  std::optional<double> l2;
  bool bias = true;
  std::string activation = "none";
};
/// Reads init, init_deviation, l2, bias and activation, as far as the layer has them.
WeightOptions read_weight_options(const LayerReader& reader);
/// NAME.weight with the given fans, and NAME.bias of so many outputs where there is one.
std::vector<int> add_weight_and_bias(const LayerContext& context, const std::string& name,
                                     const WeightOptions& options, const Shape& weight, int64_t outputs,
                                     int64_t fan_in, int64_t fan_out);
/// Appends a dense layer (Gemm, then the activation) on the last dimension of `value`.
int add_dense(const LayerContext& context, const std::string& name, int value, int64_t units,
              const WeightOptions& weights);
BuildStep read_dense(const LayerReader& reader);

// layers_convolution.cpp
BuildStep read_conv(const LayerReader& reader);
BuildStep read_conv_transpose(const LayerReader& reader);

// layers_window.cpp
struct Window {
  Extent kernel, stride, dilation;
  bool same = false;    ///< padding = "same"
  Extent padding = {};  ///< on each side, where it is not "same"
};
/// Of a layer type: 1 of "conv1d", ...
size_t axes_of(const std::string& type);
/// The layer's input as operators take it, channels first; refuses one that has not so many axes behind them.
int channels_first(const LayerContext& context, size_t axes, const std::string& hint);
/// The way back: a sequence again; images and volumes as they are.
int from_channels_first(const LayerContext& context, int value);
/// Reads the option `padding` into `window`; explicit numbers are at most `most`.
void read_padding(const LayerOptions& options, const Extent& most, Window& window);
/// ONNX attributes kernel_shape, strides, dilations and explicit pads for that value; refuses windows that
/// are larger than it with its padding.
ops::Attributes window_attributes(const LayerContext& context, int value, const Window& window);
BuildStep read_max_pool(const LayerReader& reader);
BuildStep read_avg_pool(const LayerReader& reader);
BuildStep read_global_avg_pool(const LayerReader& reader);
BuildStep read_global_max_pool(const LayerReader& reader);

// layers_sequence.cpp
/// The value that holds the length of each sample, [1], which a layer may read as its input `place`; -1: it
/// reads none, all are as long as the sequence.
int lengths_of(const LayerContext& context, size_t place = 1);
BuildStep read_embedding(const LayerReader& reader);
BuildStep read_positional_embedding(const LayerReader& reader);
BuildStep read_attention(const LayerReader& reader);
BuildStep read_transformer_block(const LayerReader& reader);

// layers_graph.cpp
BuildStep read_graph_conv(const LayerReader& reader);
// layers_recurrent.cpp
struct RecurrentOptions {
  std::string type;  ///< ONNX operator
  int64_t gates = 1, units = 1, layers = 1;
  bool bidirectional = false, sequence = false;
  double dropout = 0;       ///< between the layers
  bool relu = false;        ///< rnn
  bool reset_after = true;  ///< gru
  double forget_bias = 1;   ///< lstm
  WeightOptions weights;
  Initialiser recurrent;
};
std::vector<LayerRow> recurrent_layer_rows();
RecurrentOptions read_recurrent_options(const LayerReader& reader);
/// Appends the nodes of a rnn, lstm or gru layer behind the sequence `value`. `lengths`: the value that holds
/// the length of each sample, [1]; -1: all are as long as the sequence.
int add_recurrent(const LayerContext& context, const RecurrentOptions& options, int value, int lengths = -1);
BuildStep read_recurrent(const LayerReader& reader);
// layers_join.cpp
BuildStep read_add(const LayerReader& reader);
BuildStep read_multiply(const LayerReader& reader);
BuildStep read_concat(const LayerReader& reader);
// layers_spatial.cpp
BuildStep read_group_norm(const LayerReader& reader);
BuildStep read_instance_norm(const LayerReader& reader);
BuildStep read_upsample(const LayerReader& reader);
BuildStep read_zero_pad(const LayerReader& reader);
BuildStep read_permute(const LayerReader& reader);

// layers_other.cpp
/// LayerNormalization, or if not `centred` RMSNormalization, of each sample, or of each row of a sequence.
int add_layer_norm(const LayerContext& context, const std::string& name, int value, bool centred,
                   double epsilon);
BuildStep read_batch_norm(const LayerReader& reader);
BuildStep read_layer_norm(const LayerReader& reader);
BuildStep read_rms_norm(const LayerReader& reader);
BuildStep read_dropout(const LayerReader& reader);
BuildStep read_flatten(const LayerReader& reader);
BuildStep read_reshape(const LayerReader& reader);
BuildStep read_residual(const LayerReader& reader);

}  // namespace lepton::model
