// SPDX-License-Identifier: Apache-2.0
// Walking lists of layers: names, who reads whose output, whose weights a layer uses, what is frozen. A list
// is in topological order by construction: a layer reads outputs of its own list that stand before it, and a
// layer with nested lists is a single one outside. Called by build_graph and check_layers (layers.cpp) and,
// for nested lists, by the readers of layers_*.cpp.
#include <algorithm>
#include <map>

#include "model/layers.h"

namespace lepton::model {

namespace {

/// The option `name` if given, else the type and its running number in this list; without the scope.
std::string short_name(const LayerSpec& layer, const std::string& scope, int number,
                       const std::vector<std::string>& inputs) {
  const std::string automatic = layer.type + "_" + std::to_string(number);
  const auto option = layer.options.find("name");
  if (option == layer.options.end()) return automatic;
  const auto* text = std::get_if<std::string>(&option->second.value);
  const auto allowed = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (text == nullptr || text->empty() || !std::all_of(text->begin(), text->end(), allowed))
    layer_error(
        option->second.position, scope + automatic,
        "name = " + option_text(option->second.value) + " is not a name of letters, digits, \"_\" and \"-\"",
        "");
  if (std::find(inputs.begin(), inputs.end(), *text) != inputs.end())
    layer_error(option->second.position, scope + automatic,
                "name = \"" + *text + "\" is what `from` calls an input", "Give it another name.");
  return *text;
}

/// Names and readers of one list.
struct Wiring {
  std::vector<std::string> names;  ///< without the scope
  std::vector<std::vector<int>> sources;
  std::vector<int> readers;  ///< the first layer that reads each; -1: none
};

[[noreturn]] void unknown_source(const LayerOptions& options, const std::string& source,
                                 const std::vector<std::string>& before, bool later) {
  if (later)
    options.error("from", "from names \"" + source + "\", which does not stand before it",
                  "A layer reads outputs of layers before it in its list: put that one first.");
  const std::string nearest = nearest_name(source, before);
  options.error("from", "from names \"" + source + "\", but no layer before it in its list has this name",
                (nearest.empty() ? "" : "Did you mean \"" + nearest + "\"? ") + "There are " +
                    quoted_list(before) + ".");
}

/// What layer `index` reads. `names`: of the whole list.
std::vector<int> sources_of(const LayerOptions& options, const LayerRow& row, int index,
                            const std::vector<std::string>& names, const std::vector<std::string>& inputs) {
  const auto own = names.begin() + index;
  std::vector<int> sources;
  for (const std::string& source : options.names_of("from")) {
    const auto layer = std::find(names.begin(), own, source);
    const auto input = std::find(inputs.begin(), inputs.end(), source);
    if (layer == own && input == inputs.end()) {
      std::vector<std::string> before = inputs;
      before.insert(before.end(), names.begin(), own);
      unknown_source(options, source, before, std::find(own, names.end(), source) != names.end());
    }
    const auto place = layer != own ? layer - names.begin() : -1 - (input - inputs.begin());
    if (std::find(sources.begin(), sources.end(), place) != sources.end())
      options.error("from", "from names \"" + source + "\" twice", "");
    sources.push_back(static_cast<int>(place));
  }
  if (sources.empty()) sources = {index - 1};
  const InputCount takes = row.inputs;
  if (sources.size() < takes.least || sources.size() > takes.most)
    options.error("from",
                  std::string("a layer of type ") + row.type + " reads " +
                      (takes.most == 1 ? "one output"
                       : takes.most == SIZE_MAX
                           ? std::to_string(takes.least) + " or more outputs"
                           : std::to_string(takes.least) + " to " + std::to_string(takes.most) + " outputs") +
                      ", not " + std::to_string(sources.size()),
                  takes.most == 1 ? "Join several by a layer of type add before it."
                                  : "Name them: from = [\"a\", \"b\"].");
  return sources;
}

/// Nothing is computed for nobody: most likely somebody forgot a `from`.
void require_readers(const NetworkNames& network, const Wiring& wiring, const std::vector<LayerSpec>& layers,
                     const std::string& scope) {
  const size_t outputs = scope.empty() && !network.outputs.empty() ? 0 : 1;  // the last one's
  for (size_t i = 0; i + outputs < layers.size(); ++i)
    if (wiring.readers[i] < 0 && !network.outputs.contains(scope + wiring.names[i]))
      layer_error(layers[i].position, scope + wiring.names[i], "nobody reads its output",
                  "Name it in the `from` of a later layer, or leave it out.");
}

/// The activation that a layer's output meets first: its own option, or the first reader that is one, looking
/// through layers that keep the scale of values. Decides the default initialisation.
std::string follower_of(const std::vector<LayerSpec>& layers, const Wiring& wiring, size_t index,
                        const std::string& tail) {
  static const std::vector<std::string> transparent = {
      "batch_norm", "layer_norm",    "rms_norm", "dropout", "flatten", "reshape",
      "group_norm", "instance_norm", "permute",  "add",     "concat"};
  const auto looks_through = [&](const std::string& type) {
    const bool pools = type.find("_pool") != std::string::npos;
    return pools || std::find(transparent.begin(), transparent.end(), type) != transparent.end();
  };
  for (int at = static_cast<int>(index);;) {
    const auto own = layers[at].options.find("activation");
    if (own != layers[at].options.end())
      if (const auto* text = std::get_if<std::string>(&own->second.value); text != nullptr && *text != "none")
        return *text;
    at = wiring.readers[at];
    if (at < 0) return tail;
    if (!activation_operator(layers[at].type).empty() || layers[at].type == "prelu") return layers[at].type;
    if (!looks_through(layers[at].type)) return "";
  }
}

/// The layer that `weights_of` names: of this list, else by its whole name. "" without the option.
std::string owner_of(const NetworkNames& network, const LayerOptions& options, const std::string& scope) {
  const std::string given = options.name_of("weights_of");
  if (given.empty()) return "";
  for (const char* option : {"init", "init_deviation", "residual_deviation", "initial", "l2"})
    if (options.has(option))
      options.error(option, std::string(option) + " has no effect on a layer that uses another one's weights",
                    "Give it where the weights stand.");
  const std::vector<std::string>& known = network.complete;
  for (const std::string& name : {scope + given, given})
    if (std::find(known.begin(), known.end(), name) != known.end()) return name;
  const std::string nearest = nearest_name(given, known);
  const bool later = network.names.contains(scope + given) || network.names.contains(given);
  options.error("weights_of",
                "weights_of names \"" + given + "\", " +
                    (later ? "which does not stand before it" : "but no layer before it has this name"),
                nearest.empty() ? "" : "Did you mean \"" + nearest + "\"?");
}

Wiring wire(NetworkNames& network, const std::vector<LayerSpec>& layers, const std::string& scope,
            const std::vector<std::string>& inputs, std::vector<ReadLayer>& read) {
  std::map<std::string, int> numbers;
  Wiring wiring;
  for (const LayerSpec& layer : layers) {
    const std::string name = short_name(layer, scope, ++numbers[layer.type], inputs);
    const LayerRow& row = find_row(layer, scope + name);
    claim_name(network.names, scope + name, layer.position);
    read.push_back({&layer, {layer, scope + name, row.options, row.nested}, scope + name, {}, {}, {}});
    wiring.names.push_back(name);
  }
  wiring.readers.assign(layers.size(), -1);
  for (size_t i = 0; i < layers.size(); ++i) {
    const int index = static_cast<int>(i);
    const LayerRow& row = find_row(layers[i], read[i].name);
    wiring.sources.push_back(sources_of(read[i].options, row, index, wiring.names, inputs));
    for (const int source : wiring.sources.back())
      if (source >= 0 && wiring.readers[source] < 0) wiring.readers[source] = index;
  }
  require_readers(network, wiring, layers, scope);
  return wiring;
}

}  // namespace

std::vector<ReadLayer> read_layers(NetworkNames& network, const std::vector<LayerSpec>& layers,
                                   const std::string& scope, const std::string& follower,
                                   const std::vector<std::string>& inputs) {
  std::vector<ReadLayer> read;
  const Wiring wiring = wire(network, layers, scope, inputs, read);
  for (size_t i = 0; i < layers.size(); ++i) {
    ReadLayer& layer = read[i];
    layer.sources = wiring.sources[i];
    const bool frozen = layer.options.boolean("frozen", false);
    const std::string owner = owner_of(network, layer.options, scope);
    layer.use = {layer.name, owner, frozen, layer.options.position(owner.empty() ? "frozen" : "weights_of")};
    const std::string next = follower_of(layers, wiring, i, follower);
    layer.build = find_row(layers[i], layer.name).read({network, layers[i], layer.options, layer.name, next});
    network.complete.push_back(layer.name);
  }
  return read;
}

int build_layers(GraphBuilder& builder, const ModelSpec& model, const std::vector<ReadLayer>& layers,
                 const std::vector<int>& inputs, std::vector<int>* all) {
  std::vector<int> outputs;
  for (const ReadLayer& read : layers) {
    std::vector<int> values;
    for (const int source : read.sources)
      values.push_back(source < 0 ? inputs[-1 - source] : outputs[source]);
    const bool particular = read.use.frozen || !read.use.weights_of.empty();
    if (particular) builder.begin_use(read.use);
    outputs.push_back(read.build({builder, model, *read.layer, read.options, read.name, values}));
    if (particular) builder.end_use();
  }
  if (all) *all = outputs;
  return outputs.empty() ? inputs.front() : outputs.back();
}

}  // namespace lepton::model
