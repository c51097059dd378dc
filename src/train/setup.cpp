// SPDX-License-Identifier: Apache-2.0
// From deck to graph and unit sizes. Called by the commands train, evaluate, predict and check.
#include "train/setup.h"

#include <algorithm>
#include <set>

#include "comm/shared_memory.h"
#include "data/batch.h"
#include "model/layers.h"
#include "storage/file.h"

namespace lepton::train {

Deck load_deck(const comm::World& world, const Options& options) {
  std::string text;
  comm::agree(world, [&] {
    if (world.rank() == 0) text = storage::read_file(options.target);
  });
  world.broadcast(text);
  Deck deck;
  comm::agree(world, [&] { deck = parse_deck(options.target, text, options.overrides); });
  if (options.max_steps > 0) deck.train.max_steps = options.max_steps;
  return deck;
}

/// The deck's network with what the data say of its ends.
static model::ModelSpec model_spec(const Deck& deck, const data::Dataset& dataset) {
  model::ModelSpec spec = deck.model;
  spec.input = dataset.input_shape();
  for (const data::Input& input : dataset.inputs()) spec.inputs.push_back({input.name, input.shape});
  spec.outputs = dataset.outputs();
  spec.positions = dataset.sources().front().targets.empty() ? 0 : dataset.positions();
  return spec;
}

model::Graph graph_for(const comm::World& world, const Deck& deck, const data::Dataset& dataset) {
  model::Graph graph;
  comm::agree(world, [&] {
    model::ModelSpec spec = model_spec(deck, dataset);
    spec.memory_bytes_max = static_cast<int64_t>(comm::available_memory_bytes(deck.run.shm_directory));
    graph = model::build_graph(spec);
  });
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
