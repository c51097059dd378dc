// SPDX-License-Identifier: Apache-2.0
// The command `check`; see the header.
#include "train/check.h"

#include <algorithm>
#include <iostream>

#include "base/log.h"
#include "comm/shared_memory.h"
#include "optim/optimizer.h"
#include "report/texts.h"
#include "train/commands.h"
#include "train/devices.h"
#include "train/initial_weights.h"
#include "train/memory_needs.h"

namespace lepton::train {

namespace {

using Json = nlohmann::ordered_json;

int64_t ceil_divide(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

const char* kind_text(data::TargetKind kind) {
  switch (kind) {
    case data::TargetKind::classes:
      return "classes";
    case data::TargetKind::one_hot:
      return "one-hot classes";
    case data::TargetKind::values:
      return "values";
    case data::TargetKind::automatic:
      break;
  }
  return "unknown";
}

Json data_report(const data::Dataset& dataset) {
  Json report = {{"input_shape", dataset.input_shape()},
                 {"input_type", dataset.sources().front().inputs.front().type().text()},
                 {"targets", kind_text(dataset.target_kind())},
                 {"outputs", dataset.outputs()}};
  for (size_t i = 0; i < dataset.inputs().size() && dataset.inputs().size() > 1; ++i)
    report["inputs"].push_back({{"name", dataset.inputs()[i].name},
                                {"shape", dataset.inputs()[i].shape},
                                {"type", dataset.sources().front().type_of(dataset.inputs()[i]).text()}});
  if (dataset.targets().size() > 1) {
    report["targets"] = Json::array();
    for (const data::Target& target : dataset.targets())
      report["targets"].push_back(
          {{"name", target.rules.name}, {"kind", kind_text(target.kind)}, {"outputs", target.outputs}});
  }
  report["values"] = "not read: they are checked when training starts";
  for (const data::SplitKind kind : data::all_splits)
    if (dataset.has(kind)) report["samples"][data::split_name(kind)] = dataset.split(kind).samples;
  return report;
}

std::string inputs_text(const Json& data) {
  const auto text_of = [](const Json& shape, const Json& type) {
    return shape_text(shape.get<Shape>()) + " " + type.get<std::string>();
  };
  if (!data.contains("inputs")) return text_of(data["input_shape"], data["input_type"]);
  std::string text;
  for (const Json& input : data["inputs"])
    text += (text.empty() ? "" : ", ") + input["name"].get<std::string>() + " " +
            text_of(input["shape"], input["type"]);
  return text;
}

std::string targets_text(const Json& data) {
  const auto text_of = [](const Json& kind, const Json& outputs) {
    const auto count = outputs.get<int64_t>();
    return kind.get<std::string>() +
           (count > 0 ? " (" + std::to_string(count) + ")" : " (counted when the labels are read)");
  };
  if (!data["targets"].is_array()) return text_of(data["targets"], data["outputs"]);
  std::string text;
  for (const Json& target : data["targets"])
    text += (text.empty() ? "" : ", ") + target["name"].get<std::string>() + " " +
            text_of(target["kind"], target["outputs"]);
  return text;
}

Json steps_report(const Deck& deck, const data::Dataset& dataset) {
  const int64_t samples = dataset.split(data::SplitKind::train).samples;
  const int64_t batch = std::min(deck.train.batch_size, samples),
                per_epoch = ceil_divide(samples, deck.train.batch_size);
  return {{"per_epoch", per_epoch},
          {"total", per_epoch * deck.train.epochs},
          {"batch_size", batch},
          {"last_batch", samples - (per_epoch - 1) * deck.train.batch_size},
          {"unit_size", deck.train.unit_size},
          {"units", ceil_divide(batch, deck.train.unit_size)}};
}

Json memory_report(const MemoryNeeds& needs, const OnHost& host, int64_t available_bytes) {
  Json report = {{"data_bytes", needs.data},
                 {"state_bytes", needs.state},
                 {"checkpoint_bytes", needs.checkpoint},
                 {"staging_bytes", needs.staging},
                 {"thread_bytes", needs.per_thread},
                 {"node_bytes", needs.node()},
                 {"machine_bytes", needs.total(host)},
                 {"available_bytes", available_bytes}};
  if (needs.total(host) > available_bytes) report["missing_bytes"] = needs.total(host) - available_bytes;
  return report;
}

std::vector<std::string> warnings_of(const Deck& deck, const Json& report, const ThreadShare& threads) {
  std::vector<std::string> warnings = deck.warnings;
  if (!threads.warning.empty()) warnings.push_back(threads.warning);
  if (deck.train.device != DeviceKind::cpu)
    warnings.push_back("the memory of devices themselves is tested when training starts.");
  if (deck.balance.classes != ClassPolicy::refuse)
    warnings.push_back("threads and memory are told as if all nodes were of rank 0's kind.");
  const auto units = report["steps"]["units"].get<int64_t>(),
             batch = report["steps"]["batch_size"].get<int64_t>();
  if (units < threads.job_threads)
    warnings.push_back("a step has " + std::to_string(units) + " units for " +
                       std::to_string(threads.job_threads) + " compute threads, so " +
                       std::to_string(threads.job_threads - units) + " of them idle: a unit_size of " +
                       std::to_string(std::max<int64_t>(1, batch / threads.job_threads)) +
                       " would occupy all (it is a mathematical key).");
  return warnings;
}

/// What a run would begin with.
std::string weights_report(const Deck& deck, const model::Graph& graph) {
  std::vector<float> parameters(static_cast<size_t>(graph.layout.elements()));
  return deck.weights.file + ": " + place_weights(deck.weights, graph, parameters, weights_hint).text();
}

std::string bytes_field(const Json& memory, const char* name) {
  return report::bytes_text(memory[name].get<double>());
}

std::string memory_text(const Json& memory, int64_t threads) {
  return "memory      " + bytes_field(memory, "machine_bytes") + " on a machine: data " +
         bytes_field(memory, "data_bytes") + ", and for each of its nodes state " +
         bytes_field(memory, "state_bytes") + ", checkpoint copy " + bytes_field(memory, "checkpoint_bytes") +
         ", staging " + bytes_field(memory, "staging_bytes") + ", " + std::to_string(threads) + " x " +
         bytes_field(memory, "thread_bytes") + " for compute threads; available " +
         bytes_field(memory, "available_bytes") + "\n";
}

/// Every order, "window" too, draws from rows that are all resident.
std::string shuffle_text(const Json& shuffle, const Json& memory) {
  const std::string text = "order       shuffle " + shuffle["kind"].get<std::string>();
  if (shuffle["feasible"].get<bool>()) return text + ", feasible\n";
  const auto nodes = memory["feasible_nodes"].get<int64_t>();
  return text + ", not feasible in this memory: all rows of the dataset are kept in it, over the machines; " +
         (nodes == 0 ? "no number of such machines would do, as what each has whole is too large"
                     : std::to_string(nodes) + (nodes == 1 ? " machine" : " machines") +
                           " with as much memory each would do") +
         "\n";
}

}  // namespace

Json check_report(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph,
                  const UnitSizes& sizes, const ThreadShare& threads, const HostMath& math, const JobCut& job,
                  int64_t available_bytes) {
  const optim::Optimizer optimizer(deck.optimizer, graph.statistics_momentum);
  const NodeCut cut{job.nodes,
                    job.machines,
                    threads.node_threads,
                    static_cast<int>(optimizer.moments().size()),
                    threads.domains.count(),
                    job.device,
                    math.precision};
  const MemoryNeeds needs = memory_needs(dataset, graph, sizes, cut);
  Json report = {{"deck", deck.path}, {"run", deck.run.directory}, {"data", data_report(dataset)}};
  report["parameters"] = graph.layout.parameter_count();
  report["flops_per_sample"] = model::training_flops_per_sample(graph);
  report["steps"] = steps_report(deck, dataset);
  report["threads"] = {{"ranks", job.ranks},
                       {"nodes", job.nodes},
                       {"usable_cores", usable_cores()},
                       {"per_node", threads.node_threads},
                       {"job", threads.job_threads}};
  report["arithmetic"] = {{"precision", ops::precision_name(deck.precision)},
                          {"instruction_set", math.instruction_set}};
  report["memory"] = memory_report(needs, threads.on_host, available_bytes);
  const char* const shuffles[] = {"global", "window", "none"};
  report["shuffle"] = {{"kind", shuffles[static_cast<int>(deck.data.shuffle)]},
                       {"feasible", !report["memory"].contains("missing_bytes")}};
  if (report["memory"].contains("missing_bytes"))
    report["memory"]["feasible_nodes"] = feasible_nodes(dataset, graph, sizes, cut, available_bytes);
  report["warnings"] = warnings_of(deck, report, threads);
  return report;
}

std::string check_text(const Json& report, const std::string& table) {
  const Json &steps = report["steps"], &threads = report["threads"], &data = report["data"];
  const auto number = [](const Json& value) { return std::to_string(value.get<int64_t>()); };
  std::string text = "deck        " + report["deck"].get<std::string>() + ": valid\ndata        ";
  for (const auto& [name, samples] : data["samples"].items()) text += name + " " + number(samples) + ", ";
  text += "inputs " + inputs_text(data) + ", targets " + targets_text(data) + "\n";
  text += "values      " + data["values"].get<std::string>() + "\n\n" + table + "\n";
  text += "parameters  " + number(report["parameters"]) + ", " +
          report::count_text(report["flops_per_sample"].get<double>()) + " operations per sample\n";
  if (report.contains("weights")) text += "weights     " + report["weights"].get<std::string>() + "\n";
  text += "steps       " + number(steps["per_epoch"]) + " per epoch, " + number(steps["total"]) +
          " in all; " + number(steps["units"]) + " units of at most " + number(steps["unit_size"]) +
          " samples per step\n";
  text += "threads     " + number(threads["job"]) + " on " + number(threads["ranks"]) + " ranks and " +
          number(threads["nodes"]) + " nodes; " + number(threads["usable_cores"]) +
          " usable cores for rank 0\n";
  text += "arithmetic  products in " + report["arithmetic"]["precision"].get<std::string>() +
          "; CPUs: " + report["arithmetic"]["instruction_set"].get<std::string>() + "\n";
  text += memory_text(report["memory"], threads["per_node"].get<int64_t>()) +
          shuffle_text(report["shuffle"], report["memory"]);
  for (const Json& warning : report["warnings"]) text += "warning: " + warning.get<std::string>() + "\n";
  return text;
}

Exit check(const comm::World& world, const Options& options) {
  const Deck deck = load_deck(world, options);
  const DeviceKind kind = choose_device(world, deck).kind;
  const HostMath math = prepare_host_math(world, deck, kind, true);
  const data::Dataset dataset(world, deck.data);
  const model::Graph graph = graph_for(world, deck, dataset);
  require_loss_fits(world, deck, dataset, graph);
  const UnitSizes sizes = unit_sizes(deck, dataset);
  const ThreadShare threads = threads_per_rank(world, deck.train.threads, kind != DeviceKind::cpu);
  // The poorest host decides: the largest of the negatives.
  std::vector<int64_t> available = {
      -static_cast<int64_t>(comm::available_memory_bytes(deck.run.shm_directory))};
  world.all_max(available);
  Json report;
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    report =
        check_report(deck, dataset, graph, sizes, threads, math,
                     {world.size(), world.nodes(), world.machines(), kind != DeviceKind::cpu}, -available[0]);
    if (!deck.weights.file.empty()) report["weights"] = weights_report(deck, graph);
    std::cout << (options.json ? report.dump(2) + "\n" : check_text(report, model::describe(graph)))
              << std::flush;
    REQUIRE(
        !report["memory"].contains("missing_bytes"), Exit::memory, deck.path,
        "the run needs " + bytes_field(report["memory"], "machine_bytes") +
            " of memory on a machine that has " + bytes_field(report["memory"], "available_bytes") + " left",
        "Use more machines (the data and moments are divided among them), a smaller network or unit_size, or "
        "fewer threads.");
  });
  return Exit::done;
}

}  // namespace lepton::train
