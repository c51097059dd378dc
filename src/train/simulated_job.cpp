// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/simulated_job.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string>

#include "optim/optimizer.h"
#include "train/unit.h"

namespace lepton::train {

namespace {

/// What rank 0 takes to look at one node in a decision: measured with 1,250 to 10,000 nodes.
constexpr double deciding_s_per_node = 40e-9;

int64_t rounded_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// The share of machines with such a device: the first that names it.
int share_of(const Deck& deck, const MachineGroup& group) {
  const std::string device = group.gpu ? "cuda" : "cpu";
  const std::vector<ClassShare>& shares = deck.balance.shares;
  for (size_t s = 0; s < shares.size(); ++s)
    if (shares[s].name.starts_with(device) || device.starts_with(shares[s].name)) return static_cast<int>(s);
  fail(Exit::deck, deck.place("balance.shares"),
       "no share is for the " + device + " nodes of " + group.position.text(),
       "Name the device at the beginning of a share, as in \"1 cpu\".");
}

void settle_shares(Subject& subject) {
  const std::vector<MachineGroup>& groups = subject.cluster.groups;
  subject.class_of_group.assign(groups.size(), 0);
  subject.shares = {1};
  if (subject.deck.balance.classes == ClassPolicy::fixed) {
    subject.shares.clear();
    for (const ClassShare& share : subject.deck.balance.shares) subject.shares.push_back(share.units);
    for (size_t g = 0; g < groups.size(); ++g) subject.class_of_group[g] = share_of(subject.deck, groups[g]);
  } else if (subject.deck.balance.classes == ClassPolicy::refuse) {
    for (const MachineGroup& group : groups)
      REQUIRE(group.gpu == groups.front().gpu, Exit::deck, subject.deck.place("balance.classes"),
              "the cluster has machines with and without GPUs, which compute differently",
              "Allow that with balance.classes, or describe machines of one kind.");
  }
}

/// Samples that a whole run evaluates.
int64_t evaluated_samples(const Deck& deck, const data::Dataset& dataset, const RunLength& length) {
  const bool validates = dataset.has(data::SplitKind::validation), tests = dataset.has(data::SplitKind::test);
  if (!validates && !tests) return 0;
  const int64_t steps = length.steps_per_epoch * length.epochs;
  const int64_t every = deck.evaluation.every_steps > 0
                            ? deck.evaluation.every_steps
                            : deck.evaluation.every_epochs * length.steps_per_epoch;
  const int64_t evaluations = every > 0 ? rounded_up(steps, every) : 1;  // the last step is always evaluated
  const data::SplitKind monitor = validates ? data::SplitKind::validation : data::SplitKind::test;
  const int64_t at_end = validates && tests ? dataset.split(data::SplitKind::test).samples : 0;
  return evaluations * dataset.split(monitor).samples + at_end;
}

RunLength run_length(const Deck& deck, const data::Dataset& dataset) {
  const int64_t samples = dataset.split(data::SplitKind::train).samples;
  const int64_t batch = std::min(deck.train.batch_size, samples), unit = deck.train.unit_size;
  RunLength length;
  length.epochs = deck.train.epochs;
  length.steps_per_epoch = rounded_up(samples, deck.train.batch_size);
  length.units = rounded_up(batch, unit);
  length.last_units = rounded_up(samples - (length.steps_per_epoch - 1) * deck.train.batch_size, unit);
  length.evaluated_units = static_cast<double>(evaluated_samples(deck, dataset, length)) *
                           static_cast<double>(length.units) / static_cast<double>(batch);
  return length;
}

/// Link and memory of the poorest node: GPU ranks share those of their machine. On a single machine what
/// nodes send each other goes through its memory.
Links links_of(const Cluster& cluster, const std::vector<Machine>& machines) {
  Links links{0, cluster.latency_s, std::numeric_limits<double>::infinity(),
              std::numeric_limits<double>::infinity()};
  for (const Machine& machine : machines) {
    const MachineGroup& group = cluster.groups[machine.group];
    const int64_t nodes = group.nodes_of(machine.ranks);
    const double memory = group.memory_bytes_per_s / static_cast<double>(nodes);
    const double link =
        machines.size() == 1 ? memory : cluster.network_bytes_per_s / static_cast<double>(nodes);
    links.nodes += nodes;
    links.bytes_per_s = std::min(links.bytes_per_s, link);
    links.memory_bytes_per_s = std::min(links.memory_bytes_per_s, memory);
  }
  return links;
}

StateSize state_size(const Subject& subject, int64_t nodes) {
  const exact::Lanes lanes = make_lanes(subject.graph, static_cast<int>(nodes), {});
  return {subject.graph.layout.elements(), subject.moments,
          static_cast<int64_t>(lanes.values().size() * sizeof(int64_t))};
}

/// What the formulas say of the measuring run itself.
double measured_formulas_s(const Subject& subject) {
  const MachineGroup& first = subject.cluster.groups.front();
  const Links links{subject.calibration->nodes, subject.cluster.latency_s,
                    subject.cluster.network_bytes_per_s, first.memory_bytes_per_s};
  return step_end(state_size(subject, links.nodes), links).total_s();
}

}  // namespace

Subject make_subject(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph,
                     const Cluster& cluster, const std::optional<Calibration>& calibration, int64_t steps) {
  const std::optional<double> measured_s = calibration ? std::optional(calibration->unit_s) : std::nullopt;
  Subject subject{deck, dataset, graph, cluster, calibration, unit_times_s(cluster, measured_s)};
  settle_shares(subject);
  subject.length = run_length(deck, dataset);
  subject.batch = std::min(deck.train.batch_size, dataset.split(data::SplitKind::train).samples);
  subject.unit_size = std::min(deck.train.unit_size, subject.batch);
  constexpr int64_t units_in_seconds = 1'000'000;
  subject.rounds = steps > 0 ? steps : std::clamp<int64_t>(units_in_seconds / subject.length.units, 3, 16);
  subject.moments =
      static_cast<int>(optim::Optimizer(deck.optimizer, graph.statistics_momentum).moments().size());
  return subject;
}

SimulatedJob make_job(const Subject& subject, int64_t ranks) {
  SimulatedJob job;
  job.ranks = ranks;
  job.machines = machines_for(subject.cluster, ranks);
  job.links = links_of(subject.cluster, job.machines);
  double slowest_s = 0;
  for (const Machine& machine : job.machines) {
    const MachineGroup& group = subject.cluster.groups[machine.group];
    const int threads = group.gpu ? 1 : machine.ranks * group.threads;
    const double unit_s = subject.unit_s[machine.group];
    slowest_s = std::max(slowest_s, unit_s);
    for (int64_t node = 0; node < group.nodes_of(machine.ranks); ++node) {
      job.units.nodes.push_back({threads, unit_s, group.noise, subject.class_of_group[machine.group]});
      job.threads += threads;
    }
  }
  size_t row_bytes = 0;
  for (const data::Source& source : subject.dataset.sources())
    row_bytes = std::max(row_bytes, source.row_bytes());
  job.units.shares = subject.shares;
  job.units.units = subject.length.units;
  job.units.policy = subject.deck.balance.policy;
  job.units.network.latency_s = subject.cluster.latency_s;
  job.units.network.row_s_per_unit =
      static_cast<double>(row_bytes) * static_cast<double>(subject.unit_size) / job.links.bytes_per_s;
  job.units.network.deciding_s_per_node = deciding_s_per_node;
  // A main thread looks at its messages between the nodes of the graph (model/executor), but not more often
  // than is worth it (UnitRunner).
  job.units.look_s = std::max(balance::worth_s, slowest_s / static_cast<double>(subject.graph.nodes.size()));
  job.units.seed = subject.deck.run.seed;
  if (job.units.nodes.size() == 1) job.units.warm_up_rounds = 0;  // no plan, nothing to learn
  job.units.rounds = subject.rounds;
  return job;
}

bool holds_all_classes(const Subject& subject, const SimulatedJob& job) {
  std::set<int> classes;
  for (const balance::ForecastNode& node : job.units.nodes) classes.insert(node.node_class);
  return classes.size() == subject.shares.size();
}

/// Where the run took longer than the formulas say of it, so will this job; where it was faster, its machine
/// is, in proportion.
StepEnd step_end_of(const Subject& subject, const SimulatedJob& job) {
  StepEnd end = step_end(state_size(subject, job.links.nodes), job.links);
  if (!subject.calibration) return end;
  const double took_s = subject.calibration->rest_s, formulas_s = measured_formulas_s(subject);
  if (took_s >= formulas_s) {
    end.other_s = took_s - formulas_s;
  } else {
    for (double* part : {&end.reduce_s, &end.lanes_s, &end.update_s, &end.gather_s})
      *part *= took_s / formulas_s;
  }
  return end;
}

}  // namespace lepton::train
