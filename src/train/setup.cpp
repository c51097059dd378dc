// SPDX-License-Identifier: Apache-2.0
// From deck to graph and unit sizes. Called by the commands train, evaluate, predict and check.
#include "train/setup.h"

#include <algorithm>
#include <set>

#include "base/hash.h"
#include "base/log.h"
#include "comm/shared_memory.h"
#include "data/batch.h"
#include "model/layers.h"
#include "onnx/import.h"
#include "onnx/model_file.h"
#include "storage/file.h"
#include "train/deck_tree.h"

namespace lepton::train {

/// **Collective.** The content of model.onnx, which rank 0 reads.
static std::string network_content(const comm::World& world, const Deck& deck) {
  std::string content;
  comm::agree(world, [&] {
    if (world.rank() == 0) content = onnx::read_model(deck.network.path);
  });
  world.broadcast(content);
  return content;
}

constexpr const char* content_key = "model.onnx_content";

Deck load_deck(const comm::World& world, const Options& options) {
  std::string text;
  comm::agree(world, [&] {
    if (world.rank() == 0) text = storage::read_file(options.target);
  });
  world.broadcast(text);
  Deck deck;
  comm::agree(world, [&] { deck = parse_deck(options.target, text, options.overrides); });
  if (options.max_steps > 0) deck.train.max_steps = options.max_steps;
  if (!deck.network.path.empty())
    deck.mathematical[content_key] = toml_text(hex64(hash64(network_content(world, deck))));
  return deck;
}

/// The deck's network with what the data say of its ends.
static model::ModelSpec model_spec(const Deck& deck, const data::Dataset& dataset) {
  model::ModelSpec spec = deck.model;
  spec.input = dataset.input_shape();
  spec.outputs = dataset.outputs();
  spec.positions = dataset.sources().front().targets.empty() ? 0 : dataset.positions();
  spec.memory_bytes_max = static_cast<int64_t>(comm::available_memory_bytes(deck.run.shm_directory));
  const auto file = deck.positions.find("model.onnx");
  if (file != deck.positions.end()) spec.position = file->second;
  return spec;
}

static void require_memory_for(const model::Graph& graph, const model::ModelSpec& spec) {
  REQUIRE(graph.layout.elements() <= spec.memory_bytes_max / static_cast<int64_t>(sizeof(float)),
          Exit::memory, spec.position.text(), "the parameters alone need more memory than there is", "");
}

/// What the loss applies itself must not stand at the network's end.
static void warn_of_scores(const comm::World& world, const Deck& deck, const model::Graph& graph) {
  const std::string& last = graph.nodes.back().type;
  const bool softmax =
      deck.loss.kind == ops::LossKind::softmax_cross_entropy && (last == "Softmax" || last == "LogSoftmax");
  const bool sigmoid = deck.loss.kind == ops::LossKind::binary_cross_entropy && last == "Sigmoid";
  if (world.rank() == 0 && (softmax || sigmoid))
    log_warning(deck.place("model.onnx") + ": the loss takes raw scores, but the network ends with " + last +
                ", which the loss applies itself. Export it without.");
}

/// **Collective.**
static model::Graph graph_from_file(const comm::World& world, const Deck& deck,
                                    const data::Dataset& dataset) {
  const std::string content = network_content(world, deck);
  model::Graph graph;
  comm::agree(world, [&] {
    const auto known = deck.mathematical.find(content_key);
    REQUIRE(known == deck.mathematical.end() || known->second == toml_text(hex64(hash64(content))), Exit::io,
            deck.network.path, "the file has changed since the deck was read", "Run it again.");
    const model::ModelSpec spec = model_spec(deck, dataset);
    graph = onnx::import_network(
        content, {deck.network.path, spec.position, spec.input, spec.l2, deck.network.initialise});
    require_memory_for(graph, spec);
    model::check_outputs(graph, spec);
  });
  warn_of_scores(world, deck, graph);
  return graph;
}

model::Graph graph_for(const comm::World& world, const Deck& deck, const data::Dataset& dataset) {
  if (!deck.network.path.empty()) return graph_from_file(world, deck, dataset);
  model::Graph graph;
  comm::agree(world, [&] { graph = model::build_graph(model_spec(deck, dataset)); });
  return graph;
}

void require_outputs(const comm::World& world, const Deck& deck, const data::Dataset& dataset,
                     const model::Graph& graph) {
  comm::agree(world, [&] { model::check_outputs(graph, model_spec(deck, dataset)); });
}

UnitSizes unit_sizes(const Deck& deck, const data::Dataset& dataset) {
  UnitSizes sizes;
  const int64_t unit = deck.train.unit_size, batch = deck.train.batch_size;
  const int64_t samples =
      dataset.has(data::SplitKind::train) ? dataset.split(data::SplitKind::train).samples : 0;
  if (samples > 0) sizes.training = data::unit_sizes_occurring(samples, std::min(batch, samples), unit);
  sizes.evaluation_round = unit * std::max<int64_t>((batch + unit - 1) / unit, 32);
  std::set<int64_t> inference;
  for (data::SplitKind kind : {data::SplitKind::train, data::SplitKind::validation, data::SplitKind::test}) {
    if (!dataset.has(kind)) continue;
    const int64_t n = dataset.split(kind).samples;
    for (int64_t size : data::unit_sizes_occurring(n, std::min(sizes.evaluation_round, n), unit))
      inference.insert(size);
  }
  sizes.inference.assign(inference.begin(), inference.end());
  sizes.max_samples = std::max(batch, sizes.evaluation_round);
  sizes.max_units = (sizes.max_samples + unit - 1) / unit;
  return sizes;
}

}  // namespace lepton::train
