// SPDX-License-Identifier: Apache-2.0
// The walk that turns a deck's list of layers into a graph: names, validation of types, and the check of the
// last layer against what the targets ask. Called by train through build_graph.
#include "model/layers.h"

#include <algorithm>
#include <map>

namespace lepton::model {

namespace {

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
                                                       "dropout",    "flatten",    "reshape"};
  const auto own = layers[index].options.find("activation");
  if (own != layers[index].options.end())
    if (const auto* text = std::get_if<std::string>(&own->second.value); text != nullptr && *text != "none")
      return *text;
  for (size_t i = index + 1; i < layers.size(); ++i) {
    if (!activation_operator(layers[i].type).empty() || layers[i].type == "prelu") return layers[i].type;
    const bool pools = layers[i].type.find("_pool") != std::string::npos;
    if (!pools && std::find(transparent.begin(), transparent.end(), layers[i].type) == transparent.end())
      return "";
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

void check_input(const ModelSpec& spec) {
  const bool positive = std::all_of(spec.input.begin(), spec.input.end(), [](int64_t d) { return d > 0; });
  REQUIRE(!spec.input.empty() && positive, Exit::deck, spec.position.text(),
          "the model's input " + shape_text(spec.input) + " holds no values", "Check the dataset's inputs.");
}

/// A score per class for every token ([T, classes]) or pixel ([classes, H, W]).
void check_positions(const Shape& scores, const ModelSpec& spec, const SourcePosition& last,
                     const std::string& name) {
  const bool image = scores.size() == 3;
  const int64_t classes = image ? scores.front() : scores.back();
  if (element_count(scores) != spec.positions * classes || (spec.outputs != 0 && classes != spec.outputs))
    layer_error(last, name,
                "the last layer gives " + shape_text(scores) + ", but the targets are " +
                    std::to_string(spec.positions) + " class ids per sample" +
                    (spec.outputs == 0 ? "" : " of " + std::to_string(spec.outputs) + " classes"),
                "It must give a score for each class at each of them: [" + std::to_string(spec.positions) +
                    ", classes] of sequences, [classes, height, width] of images.");
}

}  // namespace

void check_outputs(const Graph& graph, const ModelSpec& spec) {
  const Shape& scores = graph.values[graph.nodes.back().output].shape;
  const SourcePosition& last = spec.layers.empty() ? spec.position : spec.layers.back().position;
  const std::string& name = graph.nodes.back().name;
  if (spec.positions == 0) return;
  if (spec.positions > 1) return check_positions(scores, spec, last, name);
  if (scores.size() != 1)
    layer_error(last, name,
                "the last layer must give a flat output [values], but gives " + shape_text(scores),
                "End with { type = \"flatten\" }, or with global_avg_pool2d or flatten and a dense layer.");
  if (spec.outputs != 0 && scores[0] != spec.outputs)
    layer_error(last, name,
                "the last layer gives " + shape_text(scores) + ", but the targets ask for " +
                    shape_text({spec.outputs}),
                "For a dense layer, set units = " + std::to_string(spec.outputs) + ".");
}

void check_layers(const ModelSpec& spec) {
  read_network(spec);
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
  GraphBuilder builder(spec.input);
  build_layers(builder, spec, layers, 0);
  check_memory(builder, spec);
  Graph graph = builder.finish();
  check_outputs(graph, spec);
  return graph;
}

}  // namespace lepton::model
