// SPDX-License-Identifier: Apache-2.0
// The command `evaluate`: a trained model on a split, with exact counts: a table for people, JSON for
// scripts. The rounds are the same machinery as in training. Called by main.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "base/hash.h"
#include "base/log.h"
#include "report/scores.h"
#include "train/commands.h"
#include "train/compare_deck.h"
#include "train/job.h"
#include "train/resume.h"

namespace lepton::train {

namespace {

data::SplitKind named_split(const std::string& name) {
  for (data::SplitKind kind : data::all_splits)
    if (name == data::split_name(kind)) return kind;
  fail(Exit::usage, "--split", fmt::format("'{}' is no split", name), "Use train, validation or test.");
}

/// The deck, which must have the split asked for.
Deck deck_for_split(const comm::World& world, const Options& options) {
  Deck deck = load_deck(world, options);
  comm::agree(world, [&] {
    const std::string name = options.split.empty() ? "test" : options.split;
    const data::SplitKind kind = named_split(name);
    REQUIRE(data::split_spec(deck.data, kind) != nullptr, Exit::deck, "[data]",
            fmt::format("the deck has no {} split", name),
            "Name one that it has by --split, or add it by --set data." + name + "={...}.");
  });
  return deck;
}

void warn_of_changed_splits(const SavedState& saved, const Deck& deck, const data::Dataset& dataset) {
  const std::string warning =
      changed_splits(saved.reader.manifest().identity, deck, hex64(dataset.fingerprint()), saved.path);
  if (!warning.empty()) log_warning(warning);
}

std::span<const int64_t> confusion_of(const EvaluationSums& sums, const ops::TallySpec& tally) {
  return std::span(sums.tally).first(static_cast<size_t>(tally.of_classes()));
}

void print_people(const EvaluationReport& report, const EvaluationSums& sums, const ops::TallySpec& tally,
                  const std::string& what) {
  fmt::print("{}: {} samples\n", what, report.samples);
  for (const auto& [name, value] : report.fields())
    fmt::print("  {:<15} {}\n", name, figure_text(value, "{:.6g}"));
  if (tally.confusion)
    fmt::print("\n{}", report::class_table(class_report(sums, tally), confusion_of(sums, tally)));
}

void print_json(const EvaluationReport& report, const EvaluationSums& sums, const ops::TallySpec& tally,
                const std::string& what) {
  nlohmann::ordered_json json{{"model", what}, {"step", report.step}, {"samples", report.samples}};
  for (const auto& [name, value] : report.fields()) json[name] = value;
  if (tally.confusion) {
    const report::ClassReport by_class = class_report(sums, tally);
    const std::span<const int64_t> confusion = confusion_of(sums, tally);
    for (const report::ClassReport::Row& row : by_class.classes)
      json["classes"].push_back(
          {{"support", row.support}, {"precision", row.precision}, {"recall", row.recall}, {"f1", row.f1}});
    json["macro_f1"] = by_class.macro_f1;
    for (int64_t t = 0; t < tally.classes; ++t)
      json["confusion"].push_back(std::vector<int64_t>(confusion.begin() + t * tally.classes,
                                                       confusion.begin() + (t + 1) * tally.classes));
  }
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace

Exit evaluate(const comm::World& world, const Options& options) {
  const Deck deck = deck_for_split(world, options);
  const std::string path = options.checkpoint.empty() ? deck.run.directory : options.checkpoint;
  const bool bare_model = path.ends_with(".safetensors");
  std::optional<SavedState> saved;
  if (!bare_model) saved.emplace(open_saved(world, path));
  const data::SplitKind kind = named_split(options.split.empty() ? "test" : options.split);
  if (saved)
    comm::agree(world,
                [&] { require_same_model(saved->reader.manifest().identity, deck, saved->path, true); });

  Job job(world, deck, saved ? &saved->state.statistics : nullptr, false, true);
  if (saved)
    comm::agree(world, [&] {
      require_same_shape(saved->reader.manifest().identity, job.dataset.inputs(), deck.path, saved->path);
    });
  if (saved && kind != data::SplitKind::train && world.rank() == 0)
    warn_of_changed_splits(*saved, deck, job.dataset);
  if (saved)
    load_state(world, *saved, {}, job.node, false);
  else
    load_safetensors(world, path, job.graph, job.node);
  world.node_barrier();
  if (world.leads()) hash_state(job.node, job.graph.layout, 0);
  world.node_barrier();

  RunState state;
  if (saved) state.step = saved->state.step;
  state.pending = Pending::monitor;
  Schedule schedule;
  schedule.last_step = state.step;
  schedule.monitor =
      kind == data::SplitKind::train ? exact::RoundKind::evaluate_train : static_cast<exact::RoundKind>(kind);
  schedule.monitor_parts = job.parts_of(kind);
  Trainer& trainer = job.start(schedule, nullptr, {}, nullptr, std::move(state));
  const Exit exit = trainer.run();
  if (exit != Exit::done || world.rank() != 0) return exit;
  const EvaluationReport& report = trainer.conductor()->last_evaluation();
  const auto print = options.json ? print_json : print_people;
  print(report, trainer.conductor()->last_sums(), job.tally,
        fmt::format("{} on {}", saved ? saved->path : path, data::split_name(kind)));
  return exit;
}

}  // namespace lepton::train
