// SPDX-License-Identifier: Apache-2.0
// The command `simulate`: from deck and cluster to jobs, from jobs to figures. See the header.
#include "train/simulate.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <set>

#include "balance/grain.h"
#include "checkpoint/layout.h"
#include "report/texts.h"
#include "storage/file.h"
#include "train/commands.h"
#include "train/deck_keys.h"
#include "train/setup.h"
#include "train/simulated_job.h"

namespace lepton::train {

namespace {

using Json = nlohmann::ordered_json;

/// Less of all threads' time that whole units leave idle is not worth a warning.
constexpr double grain_loss_worth = 0.05;

Json times_report(double seconds, const SimulatedJob& job) {
  return {{"seconds", seconds}, {"node_hours", seconds / 3600 * static_cast<double>(job.machines.size())}};
}

/// What checkpoints and failures make of `solve_s` of work.
Json failures_report(const Subject& subject, const SimulatedJob& job, double step_s, double solve_s) {
  const Cluster& cluster = subject.cluster;
  const checkpoint::StateLayout layout{subject.graph.layout.elements(), {}};
  const int64_t writers = std::min(layout.shards(), job.links.nodes);
  const double bytes = static_cast<double>(layout.elements) * 4 * (1 + subject.moments);
  const double writing_s =
      write_s(bytes, cluster.file_system_bytes_per_s, writers, job.links.bytes_per_s, cluster.commit_s);
  const double mtbf_s = cluster.node_mtbf_s / static_cast<double>(job.machines.size());
  const double best_s = std::clamp(daly_interval_s(writing_s, mtbf_s), step_s, std::max(step_s, solve_s));
  const CheckpointSpec& spec = subject.deck.checkpoint;
  const auto steps = static_cast<double>(
      spec.every_epochs > 0 ? spec.every_epochs * subject.length.steps_per_epoch : spec.every_steps);
  const double deck_s = spec.automatic     ? best_s
                        : spec.every_s > 0 ? std::max(spec.every_s, step_s)
                        : steps > 0        ? steps * step_s
                                           : solve_s;
  const auto with = [&](double interval_s) {
    const double seconds = expected_s(solve_s, interval_s, writing_s, mtbf_s, cluster.restart_s);
    Json report = times_report(seconds, job);
    report["waste"] = 1 - solve_s / seconds;
    report["failures"] = seconds / mtbf_s;
    return report;
  };
  Json report = {{"bytes", bytes},
                 {"writers", writers},
                 {"write_s", writing_s},
                 {"job_mtbf_hours", mtbf_s / 3600},
                 {"young_s", young_interval_s(writing_s, mtbf_s)},
                 {"daly_s", daly_interval_s(writing_s, mtbf_s)},
                 {"best_interval_s", best_s},
                 {"best_interval_steps", std::max(1.0, std::round(best_s / step_s))}};
  report["with_best"] = with(best_s);
  report["deck_interval_s"] = deck_s;
  report["with_deck"] = with(deck_s);
  return report;
}

Json size_report(const Subject& subject, const SimulatedJob& job) {
  const balance::Forecast units = balance::forecast(job.units);
  const StepEnd end = step_end_of(subject, job);
  const double step_s = units.units_s + end.total_s();
  const double ideal_s = static_cast<double>(job.units.units) / balance::sum_of_speeds(job.units);
  const double solve_s = run_s(subject.length, units.units_s, end.total_s());
  Json report = {
      {"ranks", job.ranks},
      {"machines", job.machines.size()},
      {"nodes", job.links.nodes},
      {"threads", job.threads},
      {"units_per_thread", static_cast<double>(job.units.units) / static_cast<double>(job.threads)}};
  report["step"] = {{"seconds", step_s},
                    {"units_s", units.units_s},
                    {"shortest_units_s", units.shortest_s},
                    {"longest_units_s", units.longest_s},
                    {"reduce_s", end.reduce_s},
                    {"lanes_s", end.lanes_s},
                    {"update_s", end.update_s},
                    {"gather_s", end.gather_s},
                    {"other_s", end.other_s}};
  report["efficiency"] = {{"units", ideal_s / units.units_s},
                          {"whole_units", ideal_s / balance::whole_units_s(job.units)},
                          {"step", ideal_s / step_s}};
  report["samples_per_second"] = static_cast<double>(subject.batch) / step_s;
  report["stealing"] = {{"messages", units.messages},
                        {"moved_units", units.moved},
                        {"rank_0_messages", units.rank_0_messages},
                        {"rank_0_busy_s", units.rank_0_busy_s},
                        {"rank_0_busy", units.rank_0_busy_s / step_s}};
  report["run"] = times_report(solve_s, job);
  report["checkpoints"] = failures_report(subject, job, step_s, solve_s);
  return report;
}

/// A warning where no plan of whole units occupies the threads of the job; "" where one does.
std::string grain_warning(const Subject& subject, const SimulatedJob& job) {
  const std::vector<double> speeds = balance::speeds_of(job.units);
  std::vector<int> threads;
  for (const balance::ForecastNode& node : job.units.nodes) threads.push_back(node.threads);
  const double loss = balance::grain_loss(job.units.units, speeds, threads);
  if (loss <= grain_loss_worth) return "";
  const balance::Grain finer = balance::finer_grain(subject.batch, subject.unit_size, speeds, threads);
  return "with " + std::to_string(job.ranks) + (job.ranks == 1 ? " rank " : " ranks ") +
         report::coarse_units_text(job.units.units, static_cast<int>(job.threads), loss, finer.unit_size,
                                   finer.loss);
}

Json calibration_report(const Calibration& calibration) {
  return {{"run", calibration.run},
          {"lines", calibration.lines},
          {"ranks", calibration.ranks},
          {"nodes", calibration.nodes},
          {"threads", calibration.threads},
          {"unit_ms", calibration.unit_s * 1e3},
          {"slowest_unit_ms", calibration.slowest_s * 1e3},
          {"fastest_unit_ms", calibration.fastest_s * 1e3},
          {"rest_ms", calibration.rest_s * 1e3},
          {"efficiency", calibration.efficiency}};
}

Json cluster_report(const Subject& subject) {
  const Cluster& cluster = subject.cluster;
  Json report = {{"file", cluster.path}, {"machines", cluster.machines()}, {"ranks", cluster.ranks()}};
  for (size_t g = 0; g < cluster.groups.size(); ++g) {
    const MachineGroup& group = cluster.groups[g];
    report["nodes"].push_back({{"count", group.count},
                               {"ranks", group.ranks},
                               {"threads", group.threads},
                               {"device", group.gpu ? "gpu" : "cpu"},
                               {"unit_ms", subject.unit_s[g] * 1e3},
                               {"noise", group.noise}});
  }
  report["network"] = {{"latency_us", cluster.latency_s * 1e6},
                       {"gigabytes_per_second", cluster.network_bytes_per_s * 1e-9}};
  report["file_system"] = {{"gigabytes_per_second", cluster.file_system_bytes_per_s * 1e-9},
                           {"commit_ms", cluster.commit_s * 1e3}};
  report["failures"] = {{"node_mtbf_hours", cluster.node_mtbf_s / 3600}, {"restart_s", cluster.restart_s}};
  report["assumed"] = cluster.assumed;
  return report;
}

Json run_report(const Subject& subject) {
  const std::vector<std::string>& policies = find_deck_key("balance.policy")->choices;
  return {{"units", subject.length.units},
          {"unit_size", subject.unit_size},
          {"batch_size", subject.batch},
          {"steps_per_epoch", subject.length.steps_per_epoch},
          {"steps", subject.length.steps_per_epoch * subject.length.epochs},
          {"parameters", subject.graph.layout.parameter_count()},
          {"policy", policies[static_cast<size_t>(subject.deck.balance.policy)]},
          {"simulated_steps", subject.rounds},
          {"seed", subject.deck.run.seed}};
}

std::vector<int64_t> sizes_of(const Options& options, const Cluster& cluster) {
  if (options.sizes.empty()) return default_sizes(cluster);
  const std::set<int64_t> sizes(options.sizes.begin(), options.sizes.end());
  REQUIRE(*sizes.rbegin() <= cluster.ranks(), Exit::usage, "--sizes",
          std::to_string(*sizes.rbegin()) + " ranks are more than the " + std::to_string(cluster.ranks()) +
              " of " + cluster.path,
          "A size is a number of ranks; describe a larger cluster for more.");
  return {sizes.begin(), sizes.end()};
}

}  // namespace

std::vector<int64_t> default_sizes(const Cluster& cluster) {
  std::vector<int64_t> sizes;
  for (int64_t ranks = 1; ranks < cluster.ranks(); ranks *= 2) sizes.push_back(ranks);
  sizes.push_back(cluster.ranks());
  return sizes;
}

Json simulate_report(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph,
                     const Cluster& cluster, const std::optional<Calibration>& calibration,
                     const std::vector<int64_t>& sizes, int64_t steps) {
  const Subject subject = make_subject(deck, dataset, graph, cluster, calibration, steps);
  Json report = {{"deck", deck.path}, {"run", run_report(subject)}, {"cluster", cluster_report(subject)}};
  std::vector<std::string> warnings = deck.warnings, coarse;
  if (calibration) {
    report["calibration"] = calibration_report(*calibration);
    warnings.insert(warnings.end(), calibration->warnings.begin(), calibration->warnings.end());
  }
  report["sizes"] = Json::array();
  for (const int64_t ranks : sizes) {
    const SimulatedJob job = make_job(subject, ranks);
    if (!holds_all_classes(subject, job)) {
      warnings.push_back(std::to_string(ranks) +
                         " ranks have no nodes of some class of balance.shares, and "
                         "are left out.");
      continue;
    }
    report["sizes"].push_back(size_report(subject, job));
    if (std::string warning = grain_warning(subject, job); !warning.empty())
      coarse.push_back(std::move(warning));
  }
  // From where on it is so, and how it ends.
  if (!coarse.empty()) warnings.push_back(coarse.front());
  if (coarse.size() > 1) warnings.push_back(coarse.back());
  report["warnings"] = warnings;
  return report;
}

Exit simulate(const comm::World& world, const Options& options) {
  const Deck deck = load_deck(world, options);
  const data::Dataset dataset(world, deck.data);
  const model::Graph graph = graph_for(world, deck, dataset);
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    const Cluster cluster = parse_cluster(options.cluster, storage::read_file(options.cluster));
    const std::vector<int64_t> sizes = sizes_of(options, cluster);
    std::optional<Calibration> calibration;
    if (!options.from.empty()) calibration = read_calibration(options.from, deck);
    const Json report =
        simulate_report(deck, dataset, graph, cluster, calibration, sizes, options.simulated_steps);
    std::cout << (options.json ? report.dump(2) + "\n" : simulate_text(report)) << std::flush;
  });
  return Exit::done;
}

}  // namespace lepton::train
