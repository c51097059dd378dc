// SPDX-License-Identifier: Apache-2.0
// The network as a whole, and the check of the last layer against what the targets ask. Called by train
// through build_graph.
#include "model/layers.h"

#include <algorithm>
#include <map>
#include <span>

namespace lepton::model {

namespace {

std::vector<NamedShape> inputs_of(const ModelSpec& spec) {
  return spec.inputs.empty() ? std::vector<NamedShape>{{"input", spec.input}} : spec.inputs;
}

/// By which layers name them in `from`.
std::vector<std::string> input_names(const ModelSpec& spec) {
  std::vector<std::string> names;
  for (const NamedShape& input : inputs_of(spec)) names.push_back(input.name);
  return names;
}

/// All layers of a network; the deck's check and the graph both begin with this.
std::vector<ReadLayer> read_network(const ModelSpec& spec) {
  REQUIRE(!spec.layers.empty(), Exit::deck, spec.position.text(), "the model has no layers",
          "Give [model] layers = [...].");
  NetworkNames network;
  return read_layers(network, spec.layers, "", "", input_names(spec));
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
void check_positions(const Shape& scores, const ModelSpec& spec, const SourcePosition& last,
                     const std::string& name) {
  const bool image = scores.size() >= 3;  // or a volume
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

/// Before anything is made whose size grows with the network: the layout's own index would not fit either.
static void check_memory(const GraphBuilder& builder, const ModelSpec& spec) {
  const int64_t needed = builder.elements() * static_cast<int64_t>(sizeof(float));
  REQUIRE(needed <= spec.memory_bytes_max, Exit::memory, spec.position.text(),
          "the parameters alone need " + std::to_string(needed >> 30) + " GiB, available are " +
              std::to_string(spec.memory_bytes_max >> 30) + " GiB",
          "Is one of the layers larger than it was meant to be?");
}

/// In a frozen network nothing would ever change.
static void check_frozen(const Graph& graph, const ModelSpec& spec) {
  bool any = false, all = true;
  for (const ArenaTensor& tensor : graph.layout.tensors()) {
    any = any || tensor.frozen;
    all = all && tensor.frozen;
  }
  REQUIRE(!any || !all, Exit::deck, spec.position.text(),
          "all parameters are frozen: nothing is left to train",
          "Leave frozen = true out of a layer with parameters.");
}

Graph build_graph(const ModelSpec& spec) {
  const std::vector<ReadLayer> layers = read_network(spec);
  check_input(spec);
  const std::vector<NamedShape> inputs = inputs_of(spec);
  GraphBuilder builder{std::span(inputs)};
  build_layers(builder, spec, layers, builder.inputs());
  check_memory(builder, spec);
  Graph graph = builder.finish();
  check_outputs(graph, spec);
  check_frozen(graph, spec);
  return graph;
}

}  // namespace lepton::model
