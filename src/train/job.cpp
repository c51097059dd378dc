// SPDX-License-Identifier: Apache-2.0
// Puts a job together. Called by the commands train and evaluate.
#include "train/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/log.h"
#include "comm/shared_memory.h"
#include "data/transforms.h"
#include "report/texts.h"
#include "train/device_exchange.h"
#include "train/device_units.h"

namespace lepton::train {

namespace {

optim::OptimizerSpec without_moments() {
  optim::OptimizerSpec spec;
  spec.rule = optim::Rule::sgd;
  return spec;
}

std::optional<ops::Engine> open_engine(const comm::World& world, const Deck& deck, const DeviceChoice& choice,
                                       const HostMath& host) {
  std::optional<ops::Engine> engine;
  comm::agree(world, [&] { engine = open_device(deck, choice, host.precision); });
  return engine;
}

/// This rank's share of the cores; rank 0 logs a needlessly narrow binding.
ThreadShare share_threads(const comm::World& world, const Deck& deck, bool device) {
  ThreadShare share = threads_per_rank(world, deck.train.threads, device);
  if (world.rank() == 0 && !share.warning.empty()) log_warning(share.warning);
  return share;
}

std::vector<int> count_threads(const comm::World& world, int threads) {
  std::vector<int64_t> per_node(static_cast<size_t>(world.nodes()), 0);
  per_node[static_cast<size_t>(world.node())] = threads;
  world.all_sum(per_node);
  return {per_node.begin(), per_node.end()};
}

/// By transforms that are the same for each sample; random ones only move them.
void require_kept_zeros(const Deck& deck, const data::Input& input, bool mask) {
  using Kind = data::Transform::Kind;
  float zero = 0;
  for (const data::Transform& transform : input.rules.transforms)
    if (!data::is_random(transform) && transform.kind != Kind::one_hot)
      data::transform_values(transform, &zero, 1);
  REQUIRE(!mask || zero == 0, Exit::deck, deck.place("data.transforms"),
          "attention's mask is 0 where nobody looks, of which the transforms of " + input.name +
              " make another number",
          "Set transforms = [] in [data.inputs." + input.name + "].");
}

/// Reads the rows; then the labels have told what the last layer must give.
data::SampleStore fill_store(const comm::World& world, const Deck& deck, data::Dataset& dataset,
                             const model::Graph& graph, const data::Statistics* known) {
  for (size_t i = 0; i < dataset.inputs().size(); ++i) {
    const model::TableRows rows = model::table_rows(graph, graph.inputs[i]);
    const bool mask = model::is_mask(graph, graph.inputs[i]);
    const data::Input& input = dataset.inputs()[i];
    comm::agree(world, [&] {
      require_kept_zeros(deck, input, mask);
      REQUIRE((rows.safe == 0 && !mask) || input.rules.normalisation == data::Normalisation::none, Exit::deck,
              deck.place("data.normalize"),
              mask ? "attention's mask is 0 or is not, which normalised numbers are not"
                   : "the network's embedding takes whole numbers, not normalised ones",
              deck.data.inputs.empty() ? "Leave data.normalize out."
                                       : "Set normalize = \"none\" in [data.inputs." + input.name + "].");
    });
    dataset.set_table_rows(i, rows.below, rows.columns);
  }
  data::SampleStore store(world, dataset, deck.run.shm_directory, known);
  require_outputs(world, deck, dataset, graph);
  require_loss_fits(world, deck, dataset, graph);
  return store;
}

UnitSizes sizes_of(const Deck& deck, const data::Dataset& dataset, bool training) {
  UnitSizes sizes = unit_sizes(deck, dataset);
  if (!training) sizes.training.clear();
  return sizes;
}

/// What is still to be taken on this host, whose nodes may be of several kinds; there is that much on all.
MemoryNeeds test_memory(const comm::World& world, const Deck& deck, const ThreadShare& share,
                        MemoryNeeds needs) {
  needs.data = 0;  // the rows are read: what is available now is without them
  std::vector<int64_t> by_machine(static_cast<size_t>(world.machines()), 0);
  if (world.leads()) by_machine[static_cast<size_t>(world.machine())] = needs.node();
  world.all_sum(by_machine);
  const int64_t bytes = by_machine[static_cast<size_t>(world.machine())] * share.on_host.machines;
  comm::agree(world, [&] {
    const auto available = static_cast<int64_t>(comm::available_memory_bytes(deck.run.shm_directory));
    require_memory(needs, bytes, share.on_host, available, deck.path);
  });
  return needs;
}

NodeState make_node(const comm::World& world, const Deck& deck, const model::Graph& graph,
                    const UnitSizes& sizes, const exact::Slices& slices, int moments,
                    const exact::Lanes& lanes, const ThreadShare& share, bool device, const std::string& kept,
                    size_t small_bytes) {
  NodeSizes node;
  node.kept_name = device ? "" : kept;
  node.kept_small_bytes = small_bytes;
  node.domains = device ? MemoryDomains() : share.domains;
  node.threads = share.node_threads;
  node.max_samples = sizes.max_samples;
  node.max_units = sizes.max_units;
  node.state = state_shape(moments, device, world.nodes());
  std::optional<NodeState> made;
  comm::agree(world, [&] {
    made.emplace(world, graph.layout, node, lanes, slices.elements, deck.run.shm_directory);
  });
  return std::move(*made);
}

/// `table`: of every class, with a confusion matrix where it is not too large.
ops::TallySpec tally_for(const EvaluationSpec& evaluation, const ops::Loss& loss, bool table, bool several) {
  ops::TallySpec tally;
  if (several) return tally;  // each has its accuracy; there is no table of all
  const int64_t classes = loss.confusion_classes();
  tally.confusion = table && classes > 0 && classes <= confusion_classes_max;
  bool by_class = tally.confusion;
  for (const std::string& metric : evaluation.metrics) (metric == "auc" ? tally.roc : by_class) = true;
  if (by_class) tally.classes = loss.tally_classes();
  return tally;
}

/// Of the file that stays: what a run state can grow to.
size_t small_bytes_of(const data::Statistics& statistics, const model::Graph& graph) {
  RunState state;
  state.statistics = statistics;
  return 2 * state.encode().size() + 16 * graph.layout.tensors().size() + 8192;
}

}  // namespace

Job::Job(const comm::World& world_, const Deck& deck_, const data::Statistics* known, bool training,
         bool table, const std::string& kept)
    : world(world_),
      deck(deck_),
      device_choice(choose_device(world, deck)),
      host(prepare_host_math(world, deck, device_choice.kind, training)),
      engine(open_engine(world, deck, device_choice, host)),
      share(share_threads(world, deck, engine.has_value())),
      threads_per_node(count_threads(world, share.threads)),
      dataset(world, deck.data),
      graph(graph_for(world, deck, dataset)),
      store(fill_store(world, deck, dataset, graph, known)),
      sizes(sizes_of(deck, dataset, training)),
      loss(whole_loss(deck, dataset, graph)),
      parts(loss_parts(deck, dataset, graph)),
      optimizer(training ? deck.optimizer : without_moments(), graph.statistics_momentum),
      slices(exact::cut_arena(graph.layout, world.nodes())),
      tally(tally_for(deck.evaluation, loss, table, !parts.empty())),
      needs(test_memory(world, deck, share,
                        memory_needs(dataset, graph, sizes,
                                     {world.nodes(), world.machines(), share.node_threads,
                                      static_cast<int>(optimizer.moments().size()), share.domains.count(),
                                      engine.has_value(), host.precision}))),
      node(make_node(world, deck, graph, sizes, slices, static_cast<int>(optimizer.moments().size()),
                     make_lanes(graph, world.nodes(), tally, parts.size()), share, engine.has_value(), kept,
                     small_state_bytes())),
      exchange(world, dataset, store, sizes.max_samples, deck.run.shm_directory),
      classes(one_class(world.nodes())) {
  for (size_t source = 0; source < dataset.sources().size(); ++source)
    assemblers.push_back(
        std::make_unique<data::Assembler>(dataset, static_cast<int>(source), store.statistics()));
  make_device_state(training);
  make_exchange();
  if (training) {
    classes = settle_classes(world, deck, graph, host, node.parameters(1), device ? &*device : nullptr);
    report_units();
  }
}

void Job::make_device_state(bool training) {
  comm::agree(world, [&] {
    if (!engine) return;
    const int64_t slice = node.slice_end() - node.slice_begin();
    const int64_t needed = DeviceState::bytes(graph.layout, slices, slice, node.moments(), sizes.max_units) +
                           DeviceUnits::bytes(graph, dataset, sizes, loss, tally, *engine->arithmetic);
    const DeviceProperties properties = engine->backend->properties();
    const auto available = static_cast<int64_t>(properties.bytes_free);
    REQUIRE(needed <= available, Exit::memory, deck.path,
            fmt::format("a rank needs {} of memory on {}, of whose {} {} are available",
                        report::bytes_text(static_cast<double>(needed)), properties.name,
                        report::bytes_text(static_cast<double>(properties.bytes_total)),
                        report::bytes_text(static_cast<double>(available))),
            "Use a smaller train.unit_size or network, or more devices: moments are divided among them.");
  });
  if (training) group = join_devices(world, deck, device_choice, engine);  // evaluation exchanges nothing
  comm::agree(world, [&] {
    if (engine) device.emplace(*engine, graph.layout, node, slices, sizes.max_units, group.get());
  });
  std::map<std::string, int> notes;
  for (const std::string& note : world.all_gather(device_choice.note))
    if (!note.empty()) ++notes[note];
  if (world.rank() == 0)
    for (const auto& [note, ranks] : notes)
      log_info(fmt::format("{} of {} ranks compute on the CPU: {}.", ranks, world.size(), note));
}

void Job::make_exchange() {
  comm::agree(world, [&] {
    if (group)
      between = std::make_unique<DeviceExchange>(*device, slices, node);
    else
      between = std::make_unique<HostExchange>(world, slices, node);
  });
}

std::span<const float> Job::current_parameters() {
  const int slot = node.control().header.slot;
  if (device && (world.nodes() == 1 || group)) device->refresh_host(slot);
  return node.parameters(slot);
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
  if (classes.members.size() > 1)
    for (const std::string& member : classes.members) log_info("ranks of several classes: " + member);
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

size_t Job::small_state_bytes() const {
  return small_bytes_of(store.statistics(), graph);
}

int64_t Job::parts_of(data::SplitKind kind) const {
  if (!dataset.has(kind)) return 0;
  return (dataset.split(kind).samples + sizes.evaluation_round - 1) / sizes.evaluation_round;
}

Trainer& Job::start(const Schedule& schedule, checkpoint::Writer* writer,
                    const checkpoint::Identity& identity, Bookkeeper* bookkeeper, RunState state,
                    Watchdog* watchdog, const std::string& first_note, RedundantState* redundant) {
  schedule_ = schedule;
  identity_ = identity;
  const UnitResources resources{deck,           graph, dataset,      exchange, loss,
                                assemblers,     node,  world.node(), tally,    device ? &*device : nullptr,
                                host.precision, parts};
  const Ensemble ensemble{world,      deck,       graph,      dataset,
                          optimizer,  loss,       *between,   sizes,
                          *schedule_, exchange,   node,       writer,
                          redundant,  *identity_, bookkeeper, threads_per_node,
                          classes,    tally,      first_note, [this] { return current_parameters(); },
                          parts};
  trainer_.emplace(world, resources, sizes, ensemble, std::move(state), share.threads, share.node_first,
                   share.node_threads, watchdog);
  return *trainer_;
}

}  // namespace lepton::train
