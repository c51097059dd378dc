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

/// The place of the layer whose output it is.
size_t layer_of(const HeadSpec& head, const std::vector<ReadLayer>& layers) {
  const auto found = std::ranges::find(layers, head.from, &ReadLayer::name);
  if (found != layers.end()) return static_cast<size_t>(found - layers.begin());
  std::vector<std::string> names;
  for (const ReadLayer& layer : layers) names.push_back(layer.name);
  const std::string nearest = nearest_name(head.from, names);
  fail(Exit::deck, head.position.text(),
       "the loss \"" + head.name + "\" is of \"" + head.from + "\", but no layer has this name",
       (nearest.empty() ? "" : "Did you mean \"" + nearest + "\"? ") + "There are " + quoted_list(names) +
           ".");
}

/// All layers of a network; the deck's check and the graph both begin with this.
std::vector<ReadLayer> read_network(const ModelSpec& spec) {
  REQUIRE(!spec.layers.empty(), Exit::deck, spec.position.text(), "the model has no layers",
          "Give [model] layers = [...].");
  NetworkNames network;
  for (const HeadSpec& head : spec.heads) network.outputs.insert(head.from);
  std::vector<ReadLayer> layers = read_layers(network, spec.layers, "", "", input_names(spec));
  for (const HeadSpec& head : spec.heads) layer_of(head, layers);
  return layers;
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
void check_positions(const Shape& scores, const HeadSpec& head, const std::string& layer) {
  const bool image = scores.size() >= 3;  // or a volume
  const int64_t classes = image ? scores.front() : scores.back();
  if (element_count(scores) != head.positions * classes || (head.outputs != 0 && classes != head.outputs))
    layer_error(head.position, head.from,
                layer + " gives " + shape_text(scores) + ", but the targets are " +
                    std::to_string(head.positions) + " class ids per sample" +
                    (head.outputs == 0 ? "" : " of " + std::to_string(head.outputs) + " classes"),
                "It must give a score for each class at each of them: [" + std::to_string(head.positions) +
                    ", classes] of sequences, [classes, height, width] of images.");
}

/// What `layer` gives, against what its targets ask.
void check_head(const Shape& scores, const HeadSpec& head, const std::string& layer) {
  if (head.positions > 1) return check_positions(scores, head, layer);
  if (scores.size() != 1)
    layer_error(head.position, head.from,
                layer + " must give a flat output [values], but gives " + shape_text(scores),
                "End with { type = \"flatten\" }, or with global_avg_pool2d or flatten and a dense layer.");
  if (head.outputs != 0 && scores[0] != head.outputs)
    layer_error(
        head.position, head.from,
        layer + " gives " + shape_text(scores) + ", but the targets ask for " + shape_text({head.outputs}),
        "For a dense layer, set units = " + std::to_string(head.outputs) + ".");
}

/// Each output as a vector, one behind the other: positions in their order, each with all its values. So the
/// rest of the program sees one output, and gradients come together as everywhere in a graph.
std::vector<Head> join_heads(GraphBuilder& builder, const ModelSpec& spec,
                             const std::vector<ReadLayer>& layers, const std::vector<int>& values) {
  std::vector<Head> joined;
  std::vector<int> vectors;
  int64_t first = 0;
  for (const HeadSpec& head : spec.heads) {
    const int value = values[layer_of(head, layers)];
    const Shape shape = builder.shape(value);
    const std::string name = "(outputs)." + head.name;  // no name that a layer may have
    int from = value;
    if (shape.size() > 2) {
      std::vector<int64_t> order = {0};
      for (size_t d = 2; d <= shape.size(); ++d) order.push_back(static_cast<int64_t>(d));
      order.push_back(1);
      from = builder.add_node("Transpose", name + ".channels_last", {{"perm", order}}, {from}, {},
                              head.position);
    }
    vectors.push_back(builder.add_node("Flatten", name, {}, {from}, {}, head.position));
    joined.push_back({head.name, value, first, element_count(shape)});
    first += joined.back().count;
  }
  if (vectors.size() > 1)
    builder.add_node("Concat", "(outputs)", {{"axis", int64_t{1}}}, vectors, {}, spec.position);
  return joined;
}

}  // namespace

void check_outputs(const Graph& graph, const ModelSpec& spec) {
  for (size_t i = 0; i < graph.heads.size(); ++i)
    if (const HeadSpec& head = spec.heads[i]; head.positions > 0)
      check_head(graph.values[static_cast<size_t>(graph.heads[i].value)].shape, head,
                 "what the loss \"" + head.name + "\" is of");
  if (!graph.heads.empty() || spec.positions == 0) return;
  const SourcePosition& last = spec.layers.empty() ? spec.position : spec.layers.back().position;
  check_head(graph.values[graph.nodes.back().output].shape,
             {"", graph.nodes.back().name, spec.outputs, spec.positions, last}, "the last layer");
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
  std::vector<int> values;
  build_layers(builder, spec, layers, builder.inputs(), &values);
  const size_t nodes = builder.nodes();
  std::vector<Head> outputs = join_heads(builder, spec, layers, values);
  check_memory(builder, spec);
  Graph graph = builder.finish();
  graph.joining_nodes = graph.nodes.size() - nodes;
  graph.heads = std::move(outputs);
  check_outputs(graph, spec);
  check_frozen(graph, spec);
  return graph;
}

}  // namespace lepton::model
