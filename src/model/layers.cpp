// SPDX-License-Identifier: Apache-2.0
// The table of deck layer types, and the walk that turns a deck's list of layers into a graph: names,
// validation of types, and the check of the last layer against what the targets ask. Called by train through
// build_graph, and by `lepton keys` through layer_reference.
#include "model/layers.h"

#include <algorithm>
#include <map>
#include <span>

namespace lepton::model {

namespace {

const OptionRow activation = {"activation", "activation", "none", "activation behind the layer"};
const OptionRow bias = {"bias", "true | false", "true", "add a bias per output"};
const OptionRow init = {
    "init", "name", "he_normal before relu-like activations, else glorot_uniform",
    "initial weights: he_normal, he_uniform, glorot_normal, glorot_uniform, normal or zeros"};
const OptionRow init_deviation = {"init_deviation", "number", "0.01",
                                  "standard deviation of init = \"normal\""};
const OptionRow l2 = {"l2", "number", "[model] l2", "adds l2 * weight to the mean gradient"};
const OptionRow size = {"size", "n | [h, w]", "2", "height and width of the window"};
const OptionRow pool_stride = {"stride", "n | [h, w]", "size", "step of the window"};
const OptionRow padding = {"padding", "\"valid\" | \"same\" | n | [h, w]", "\"valid\"",
                           "none, output = input / stride rounded up, or rows and columns on each side"};

std::vector<LayerRow> weighted_rows() {
  return {
      {"dense",
       "Fully connected layer on a flat input, or on each row of a sequence.",
       {{"units", "integer", "", "number of outputs"}, activation, bias, init, init_deviation, l2},
       {},
       read_dense},
      {"conv2d",
       "Convolution over [channels, height, width].",
       {{"filters", "integer", "", "number of output channels"},
        {"kernel", "n | [h, w]", "", "height and width of the filters"},
        {"stride", "n | [h, w]", "1", "step of the filters"},
        padding,
        {"dilation", "n | [h, w]", "1", "distance of the filters' taps"},
        {"groups", "integer", "1", "groups of channels that are convolved by themselves"},
        activation,
        bias,
        init,
        init_deviation,
        l2},
       {},
       read_conv2d},
  };
}

std::vector<LayerRow> shaping_rows() {
  return {
      {"max_pool2d", "Largest value in each window.", {size, pool_stride, padding}, {}, read_max_pool2d},
      {"avg_pool2d",
       "Mean of each window; padding does not count.",
       {size, pool_stride, padding},
       {},
       read_avg_pool2d},
      {"global_avg_pool2d", "Mean of each channel: [C, H, W] to [C].", {}, {}, read_global_avg_pool2d},
      {"batch_norm",
       "Normalises each channel over the work unit; evaluation uses running statistics.",
       {{"momentum", "number", "0.9", "share of the old running statistics in the new ones"},
        {"epsilon", "number", "1e-5", "added to the variance"}},
       {},
       read_batch_norm},
      {"layer_norm",
       "Normalises each sample over all its values, each row of a sequence over its own.",
       {{"epsilon", "number", "1e-5", "added to the variance"}},
       {},
       read_layer_norm},
      {"rms_norm",
       "Divides each sample, or each row of a sequence, by its root mean square.",
       {{"epsilon", "number", "1e-5", "added to the mean square"}},
       {},
       read_rms_norm},
      {"dropout",
       "Drops values at random in training and scales the rest.",
       {{"rate", "number", "0.5", "probability of dropping a value"}},
       {},
       read_dropout},
      {"flatten", "[C, H, W] to [C * H * W].", {}, {}, read_flatten},
      {"reshape",
       "Gives the values of a sample another shape.",
       {{"shape", "[...]", "", "the new dimensions without the batch; one may be -1"}},
       {},
       read_reshape},
      {"residual",
       "layers(x) + x, or layers(x) + projection(x) where the shapes differ.",
       {activation},
       {"layers", "projection"},
       read_residual},
  };
}

const OptionRow heads = {"heads", "integer", "", "of queries"};
const OptionRow key_heads = {"key_heads", "integer", "heads",
                             "of keys and values; each serves heads / key_heads"};
const OptionRow causal = {"causal", "true | false", "false",
                          "each token sees itself and those before it only"};

std::vector<LayerRow> sequence_rows() {
  const OptionRow deviation = {"init_deviation", "number", "0.02",
                               "standard deviation of the initial weights"};
  return {
      {"embedding",
       "A row of a table for each number: [T] to [T, width].",
       {{"rows", "integer", "", "of the table: numbers are from 0 to rows - 1"},
        {"width", "integer", "", "of a row"},
        deviation},
       {},
       read_embedding},
      {"positional_embedding",
       "Adds a learned row to each position of a sequence.",
       {deviation},
       {},
       read_positional_embedding},
      {"attention",
       "Self-attention: each token gathers from the others what its heads look for.",
       {heads, key_heads, causal, bias, init, init_deviation, l2},
       {},
       read_attention},
      {"transformer_block",
       "x + attention(norm(x)), then that + dense(activation(dense(norm(that)))).",
       {heads,
        key_heads,
        causal,
        {"units", "integer", "4 * width", "between the two dense layers"},
        {"activation", "activation", "gelu", "between the two dense layers"},
        {"norm", "\"layer_norm\" | \"rms_norm\"", "layer_norm",
         "before attention and before the dense layers"},
        {"dropout", "number", "0", "probability of dropping a value of what is added to x"},
        bias,
        deviation,
        {"residual_deviation", "number", "init_deviation", "of the weights whose results are added to x"},
        l2},
       {},
       read_transformer_block},
  };
}

std::vector<LayerRow> activation_rows() {
  return {
      {"relu", "max(x, 0).", {}, {}, read_activation_layer},
      {"leaky_relu",
       "x for x > 0, else alpha * x.",
       {{"alpha", "number", "0.01", "slope below 0"}},
       {},
       read_activation_layer},
      {"prelu",
       "x for x > 0, else a slope that is learned for each channel * x.",
       {{"initial", "number", "0.25", "the slopes in the beginning"}},
       {},
       read_prelu},
      {"elu",
       "x for x > 0, else alpha * (exp(x) - 1).",
       {{"alpha", "number", "1", "minus the limit below 0"}},
       {},
       read_activation_layer},
      {"gelu", "x times the normal distribution function of x.", {}, {}, read_activation_layer},
      {"gelu_tanh",
       "gelu, approximated by tanh: the one that GPUs fuse into dense layers.",
       {},
       {},
       read_activation_layer},
      {"selu", "elu that keeps means at 0 and variances at 1.", {}, {}, read_activation_layer},
      {"silu", "x * sigmoid(x).", {}, {}, read_activation_layer},
      {"swish",
       "x * sigmoid(alpha * x).",
       {{"alpha", "number", "1", "how sharp the bend is"}},
       {},
       read_activation_layer},
      {"mish", "x * tanh(log(1 + exp(x))).", {}, {}, read_activation_layer},
      {"softplus", "log(1 + exp(x)).", {}, {}, read_activation_layer},
      {"sigmoid", "1 / (1 + exp(-x)).", {}, {}, read_activation_layer},
      {"hard_sigmoid",
       "alpha * x + 0.5, cut at 0 and 1.",
       {{"alpha", "number", "0.2", "slope at 0"}},
       {},
       read_activation_layer},
      {"tanh", "Hyperbolic tangent.", {}, {}, read_activation_layer},
      {"softmax", "exp(x) over the sum of exp(x) of the sample.", {}, {}, read_activation_layer},
  };
}

const LayerRow& find_row(const LayerSpec& layer, const std::string& name) {
  const std::vector<LayerRow>& table = layer_table();
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const LayerRow& row) { return layer.type == row.type; });
  if (found != table.end()) return *found;
  std::vector<std::string> types;
  for (const LayerRow& row : table) types.emplace_back(row.type);
  const std::string nearest = nearest_name(layer.type, types);
  layer_error(layer.position, name, "unknown layer type \"" + layer.type + "\"",
              (nearest.empty() ? "" : "Did you mean \"" + nearest + "\"? ") + "There are " +
                  quoted_list(types) + ".");
}

/// The option `name` if given, else the type and its running number in this list.
std::string layer_name(const LayerSpec& layer, const std::string& scope, int number) {
  const std::string automatic = scope + layer.type + "_" + std::to_string(number);
  const auto option = layer.options.find("name");
  if (option == layer.options.end()) return automatic;
  const auto* text = std::get_if<std::string>(&option->second.value);
  const auto allowed = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (text == nullptr || text->empty() || !std::all_of(text->begin(), text->end(), allowed))
    layer_error(
        option->second.position, automatic,
        "name = " + option_text(option->second.value) + " is not a name of letters, digits, \"_\" and \"-\"",
        "");
  return scope + *text;
}

/// The activation that a layer's output meets first: its own option, or the next layer that is one, looking
/// through layers that keep the scale of values. Decides the default initialisation.
std::string follower_of(const std::vector<LayerSpec>& layers, size_t index, const std::string& tail) {
  static const std::vector<std::string> transparent = {"batch_norm", "layer_norm", "rms_norm",
                                                       "dropout",    "flatten",    "reshape",
                                                       "max_pool2d", "avg_pool2d", "global_avg_pool2d"};
  const auto own = layers[index].options.find("activation");
  if (own != layers[index].options.end())
    if (const auto* text = std::get_if<std::string>(&own->second.value); text != nullptr && *text != "none")
      return *text;
  for (size_t i = index + 1; i < layers.size(); ++i) {
    if (!activation_operator(layers[i].type).empty() || layers[i].type == "prelu") return layers[i].type;
    if (std::find(transparent.begin(), transparent.end(), layers[i].type) == transparent.end()) return "";
  }
  return tail;
}

/// All layers of a network; the deck's check and the graph both begin with this.
std::vector<ReadLayer> read_network(const ModelSpec& spec) {
  REQUIRE(!spec.layers.empty(), Exit::deck, spec.position.text(), "the model has no layers",
          "Give [model] layers = [...].");
  NetworkNames network;
  return read_layers(network, spec.layers, "", "");
}

std::vector<NamedShape> inputs_of(const ModelSpec& spec) {
  return spec.inputs.empty() ? std::vector<NamedShape>{{"input", spec.input}} : spec.inputs;
}

void check_input(const ModelSpec& spec) {
  for (const NamedShape& input : inputs_of(spec)) {
    const bool positive = std::ranges::all_of(input.shape, [](int64_t d) { return d > 0; });
    REQUIRE(!input.shape.empty() && positive, Exit::deck, spec.position.text(),
            "the model's " + std::string(spec.inputs.size() < 2 ? "" : "input ") + input.name + " " +
                shape_text(input.shape) + " holds no values",
            "Check the dataset's inputs.");
  }
}

/// A score per class for every token ([T, classes]) or pixel ([classes, H, W]).
void check_positions(const Shape& scores, const ModelSpec& spec, const std::string& name) {
  const bool image = scores.size() >= 3;  // or a volume
  const int64_t classes = image ? scores.front() : scores.back();
  if (element_count(scores) != spec.positions * classes || (spec.outputs != 0 && classes != spec.outputs))
    layer_error(spec.layers.back().position, name,
                "the last layer gives " + shape_text(scores) + ", but the targets are " +
                    std::to_string(spec.positions) + " class ids per sample" +
                    (spec.outputs == 0 ? "" : " of " + std::to_string(spec.outputs) + " classes"),
                "It must give a score for each class at each of them: [" + std::to_string(spec.positions) +
                    ", classes] of sequences, [classes, height, width] of images.");
}

}  // namespace

void check_outputs(const Graph& graph, const ModelSpec& spec) {
  const Shape& scores = graph.values[graph.nodes.back().output].shape;
  const LayerSpec& last = spec.layers.back();
  const std::string& name = graph.nodes.back().name;
  if (spec.positions == 0) return;
  if (spec.positions > 1) return check_positions(scores, spec, name);
  if (scores.size() != 1)
    layer_error(last.position, name,
                "the last layer must give a flat output [values], but gives " + shape_text(scores),
                "End with { type = \"flatten\" }, or with global_avg_pool2d or flatten and a dense layer.");
  if (spec.outputs != 0 && scores[0] != spec.outputs)
    layer_error(last.position, name,
                "the last layer gives " + shape_text(scores) + ", but the targets ask for " +
                    shape_text({spec.outputs}),
                "For a dense layer, set units = " + std::to_string(spec.outputs) + ".");
}

void check_layers(const ModelSpec& spec) {
  read_network(spec);
}

const std::vector<LayerRow>& layer_table() {
  static const std::vector<LayerRow> table = [] {
    std::vector<LayerRow> rows;
    for (const auto& part : {weighted_rows(), sequence_rows(), shaping_rows(), activation_rows()})
      rows.insert(rows.end(), part.begin(), part.end());
    return rows;
  }();
  return table;
}

std::vector<ReadLayer> read_layers(NetworkNames& network, const std::vector<LayerSpec>& layers,
                                   const std::string& scope, const std::string& follower) {
  std::map<std::string, int> numbers;
  std::vector<ReadLayer> read;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerSpec& layer = layers[i];
    const std::string name = layer_name(layer, scope, ++numbers[layer.type]);
    const LayerRow& row = find_row(layer, name);
    claim_name(network.names, name, layer.position);
    const LayerOptions options(layer, name, row.options, row.nested);
    const std::string next = follower_of(layers, i, follower);
    read.push_back({&layer, options, name, row.read({network, layer, options, name, next})});
  }
  return read;
}

int build_layers(GraphBuilder& builder, const ModelSpec& model, const std::vector<ReadLayer>& layers,
                 int input) {
  int value = input;
  for (const ReadLayer& read : layers)
    value = read.build({builder, model, *read.layer, read.options, read.name, value});
  return value;
}

/// Before anything is made whose size grows with the network: the layout's own index would not fit either.
static void check_memory(const GraphBuilder& builder, const ModelSpec& spec) {
  const int64_t needed = builder.elements() * static_cast<int64_t>(sizeof(float));
  REQUIRE(needed <= spec.memory_bytes_max, Exit::memory, spec.position.text(),
          "the parameters alone need " + std::to_string(needed >> 30) + " GiB, available are " +
              std::to_string(spec.memory_bytes_max >> 30) + " GiB",
          "Is one of the layers larger than it was meant to be?");
}

Graph build_graph(const ModelSpec& spec) {
  const std::vector<ReadLayer> layers = read_network(spec);
  check_input(spec);
  const std::vector<NamedShape> inputs = inputs_of(spec);
  GraphBuilder builder{std::span(inputs)};
  build_layers(builder, spec, layers, 0);
  check_memory(builder, spec);
  Graph graph = builder.finish();
  check_outputs(graph, spec);
  return graph;
}

std::string layer_reference() {
  std::string text;
  for (const LayerRow& row : layer_table()) {
    text += std::string(row.type) + ": " + row.summary + "\n";
    for (const OptionRow& option : row.options) {
      text += "    " + std::string(option.name) + " = " + option.values;
      text += *option.standard == 0 ? " (required)" : " (default " + std::string(option.standard) + ")";
      text += ": " + std::string(option.sentence) + "\n";
    }
    for (const char* list : row.nested) text += "    " + std::string(list) + " = [...]: a list of layers\n";
    text += "    name = text (default the type and its running number): prefix of the parameters' names\n";
  }
  return text;
}

}  // namespace lepton::model
