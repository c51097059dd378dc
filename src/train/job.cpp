// SPDX-License-Identifier: Apache-2.0
// Puts a job together. Called by the commands train and evaluate.
#include "train/job.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "model/executor.h"
#include "ops/table.h"
#include "train/threads.h"

namespace lepton::train {

namespace {

std::string cap_isa(const comm::World& world, const Deck& deck) {
  std::string effective;
  comm::agree(world, [&] { effective = ops::cap_instruction_set(deck.run.isa); });
  ops::prepare_compute_thread();
  return effective;
}

optim::OptimizerSpec without_moments() {
  optim::OptimizerSpec spec;
  spec.rule = optim::Rule::sgd;
  return spec;
}

data::SampleStore fill_store(const comm::World& world, const Deck& deck, data::Dataset& dataset,
                             const data::Statistics* known) {
  return data::SampleStore(world, dataset, deck.run.shm_directory, known);
}

NodeState make_node(const comm::World& world, const Deck& deck, const model::Graph& graph,
                    const UnitSizes& sizes, const exact::Slices& slices, int moments,
                    int64_t confusion_classes) {
  NodeSizes node;
  node.max_samples = sizes.max_samples;
  node.max_units = sizes.max_units;
  node.moments = moments;
  return NodeState(world, graph.layout, node, make_lanes(graph, world.nodes(), confusion_classes),
                   slices.elements, deck.run.shm_directory);
}

}  // namespace

Job::Job(const comm::World& world_, const Deck& deck_, const data::Statistics* known, bool training,
         bool confusion)
    : world(world_),
      deck(deck_),
      instruction_set(cap_isa(world, deck)),
      dataset(world, deck.data),
      store(fill_store(world, deck, dataset, known)),
      graph(graph_for(world, deck, dataset)),
      sizes(unit_sizes(deck, dataset)),
      loss(deck.loss, graph.outputs()),
      optimizer(training ? deck.optimizer : without_moments(), graph.statistics_momentum),
      slices(exact::cut_arena(graph.layout, world.nodes())),
      confusion_classes(confusion && loss.classifies() && graph.outputs() > 1 &&
                                graph.outputs() <= confusion_classes_max &&
                                dataset.target_kind() != data::TargetKind::values
                            ? graph.outputs()
                            : 0),
      node(make_node(world, deck, graph, sizes, slices, static_cast<int>(optimizer.moments().size()),
                     confusion_classes)),
      exchange(world, dataset, store, sizes.max_samples, deck.run.shm_directory) {
  if (!training) sizes.training.clear();
  for (size_t source = 0; source < dataset.sources().size(); ++source)
    assemblers.push_back(
        std::make_unique<data::Assembler>(dataset, static_cast<int>(source), store.statistics()));
  share_threads();
  if (training) {
    arithmetic = arithmetic_class(world, deck, graph, instruction_set, node.parameters(1));
    report_units();
  }
}

void Job::share_threads() {
  threads = threads_of_rank(world, deck.train.threads);
  std::vector<int64_t> all(world.size(), 0), node_of(world.size(), 0);
  all[world.rank()] = threads;
  node_of[world.rank()] = world.node();
  world.all_sum(all);
  world.all_sum(node_of);
  threads_per_node.assign(world.nodes(), 0);
  for (int rank = 0; rank < world.size(); ++rank) {
    if (node_of[rank] == world.node() && rank < world.rank()) thread_base += static_cast<int>(all[rank]);
    threads_per_node[node_of[rank]] += static_cast<int>(all[rank]);
  }
  node_threads = threads_per_node[world.node()];
}

void Job::report_units() const {
  if (world.rank() != 0) return;
  int64_t total_threads = 0;
  for (int count : threads_per_node) total_threads += count;
  const int64_t samples = std::min(deck.train.batch_size, dataset.split(data::SplitKind::train).samples);
  const int64_t units = (samples + deck.train.unit_size - 1) / deck.train.unit_size;
  log_info(
      fmt::format("{} ranks on {} nodes, {} compute threads; {} parameters; {} units of {} samples per step.",
                  world.size(), world.nodes(), total_threads, graph.layout.parameter_count(), units,
                  deck.train.unit_size));
  if (units < total_threads)
    log_warning(fmt::format(
        "a step has {} units for {} compute threads, so {} of them idle. A unit_size of {} or less would "
        "occupy all (it is a mathematical key).",
        units, total_threads, total_threads - units, std::max<int64_t>(1, samples / total_threads)));
}

int64_t Job::steps_per_epoch() const {
  const int64_t samples = dataset.split(data::SplitKind::train).samples;
  return (samples + deck.train.batch_size - 1) / deck.train.batch_size;
}

int64_t Job::parts_of(data::SplitKind kind) const {
  if (!dataset.has(kind)) return 0;
  return (dataset.split(kind).samples + sizes.evaluation_round - 1) / sizes.evaluation_round;
}

Trainer& Job::start(const Schedule& schedule, checkpoint::Writer* writer,
                    const checkpoint::Identity& identity, Bookkeeper* bookkeeper, RunState state) {
  schedule_ = schedule;
  identity_ = identity;
  const UnitResources resources{deck,       graph, dataset,      exchange,         loss,
                                assemblers, node,  world.node(), confusion_classes};
  const Ensemble ensemble{
      world,      deck,     graph, dataset, optimizer,  loss,       slices,           sizes,
      *schedule_, exchange, node,  writer,  *identity_, bookkeeper, threads_per_node, confusion_classes};
  trainer_.emplace(world, resources, sizes, ensemble, std::move(state), threads, thread_base, node_threads);
  return *trainer_;
}

}  // namespace lepton::train
