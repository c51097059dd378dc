// SPDX-License-Identifier: Apache-2.0
// From deck to graph, unit sizes and arithmetic class. Called by the commands train, evaluate, predict and
// check.
#include "train/setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/hash.h"
#include "base/philox.h"
#include "comm/shared_memory.h"
#include "data/batch.h"
#include "model/executor.h"
#include "model/initialise.h"
#include "model/layers.h"
#include "ops/random.h"
#include "ops/table.h"
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
  spec.outputs = dataset.outputs();
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

namespace {

/// Hashes every gradient that it is handed.
class HashSink : public model::GradientSink {
 public:
  void gradient(int tensor, int64_t first, std::span<const float> values) override {
    hash_ = mix64(hash_ ^ hash64_of(values, static_cast<uint64_t>(tensor + first)));
  }
  void add(std::span<const float> values) { hash_ = mix64(hash_ ^ hash64_of(values)); }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0;
};

/// What the planned primitives give on one fixed unit with fixed parameters: scores and all gradients.
uint64_t fingerprint_of(const Deck& deck, const model::Graph& graph, std::span<const float> parameters) {
  const int64_t n = std::min(deck.train.unit_size, deck.train.batch_size);
  const std::vector<int64_t> sizes{n};
  model::Executor executor(graph, 0, sizes, {});
  std::vector<int64_t> ids(n);
  for (int64_t i = 0; i < n; ++i) ids[i] = i;
  ops::fill_uniform(executor.input(n, true), stream_key(0, Purpose::fingerprint, 0), 1.f);
  HashSink sink;
  sink.add(executor.forward(n, true, parameters.data(), ids, 1));
  ops::fill_uniform(executor.output_gradient(n), stream_key(0, Purpose::fingerprint, 1), 1.f);
  executor.backward(n, parameters.data(), ids, 1, sink);
  return sink.value();
}

}  // namespace

std::string arithmetic_class(const comm::World& world, const Deck& deck, const model::Graph& graph,
                             const std::string& instruction_set, std::span<float> parameters) {
  if (world.leads()) {
    model::initialise(graph, 0x1e9701, 0, static_cast<int>(graph.layout.tensors().size()), parameters);
  }
  world.node_barrier();
  const std::string mine = fmt::format("cpu {} {} {}", instruction_set, ops::math_library_version(),
                                       hex64(fingerprint_of(deck, graph, parameters)));
  world.node_barrier();
  const std::vector<std::string> all = world.all_gather(mine);
  comm::agree(world, [&] {
    for (size_t rank = 1; rank < all.size(); ++rank)
      REQUIRE(
          all[rank] == all[0], Exit::deck, "[run] isa",
          fmt::format("ranks compute differently: rank 0 is '{}', rank {} is '{}'", all[0], rank, all[rank]),
          "Use nodes of one kind, or cap the instruction set with isa = \"avx2\".");
  });
  return mine;
}

}  // namespace lepton::train
