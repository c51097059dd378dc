// SPDX-License-Identifier: Apache-2.0
// The command `train`: run directory, resume or start, the run itself, and what it leaves behind. Called by
// main.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/failpoint.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stacks.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "report/progress.h"
#include "storage/file.h"
#include "storage/ownership.h"
#include "storage/trust.h"
#include "train/commands.h"
#include "train/compare_deck.h"
#include "train/job.h"
#include "train/kept_file.h"
#include "train/resume.h"
#include "train/run_record.h"

namespace lepton::train {

namespace {

namespace fs = std::filesystem;

/// A run directory that this job owns: locked by rank 0 for as long as the object lives.
class RunDirectory {
 public:
  RunDirectory(const comm::World& world, const Deck& deck, const Options& options) {
    comm::agree(world, [&] {
      if (world.rank() != 0) return;
      const std::string& path = deck.run.directory;
      storage::require_trusted(path, deck.run.others_may_write);
      ownership_.emplace(path, fmt::format("{}, {} ranks", storage::this_process(), world.size()));
      generation_ = ownership_->generation();
      if (!ownership_->took_over() || options.fresh) return;
      for (const char* name : {"/ledger.txt", "/metrics.jsonl", "/log.txt"})
        storage::take_from_former_owner(path + name);
    });
    std::vector<int64_t> generation{generation_};
    world.all_max(generation);
    generation_ = generation[0];
  }
  /// Of the owner that this job is.
  int64_t generation() const { return generation_; }
  /// **Rank 0 only.**
  const storage::Ownership& ownership() const { return *ownership_; }

  /// **Collective.** Opens the log; with --fresh that of a new run, and only when nothing can be refused any
  /// more.
  void begin(const comm::World& world, const Deck& deck, const Options& options) {
    comm::agree(world, [&] {
      if (world.rank() != 0) return;
      if (options.fresh) move_aside(deck.run.directory);
      attach_log_file(deck.run.directory + "/log.txt");
    });
  }

  /// **Rank 0 only.** Where a checkpoint lies after begin(): elsewhere if it belonged to the run that went
  /// aside.
  std::string present_path(const Deck& deck, const std::string& checkpoint) const {
    if (aside_.empty() || checkpoint.empty()) return checkpoint;
    const fs::path inside =
        fs::weakly_canonical(checkpoint).lexically_relative(fs::weakly_canonical(deck.run.directory));
    if (inside.empty() || *inside.begin() == ".." || inside.begin()->string().starts_with("previous-"))
      return checkpoint;
    return (fs::absolute(aside_) / inside).string();
  }

 private:
  /// Everything of the old run but the lock goes to <path>/previous-K/.
  void move_aside(const std::string& path) {
    const std::vector<std::string> names = storage::list_directory(path);
    const auto old = [](const std::string& name) {
      return !storage::is_ownership_file(name) && !name.starts_with("previous-");
    };
    if (std::none_of(names.begin(), names.end(), old)) return;
    int k = 1;
    while (std::find(names.begin(), names.end(), fmt::format("previous-{}", k)) != names.end()) ++k;
    const std::string aside = fmt::format("{}/previous-{}", path, k);
    storage::make_directories(aside);
    for (const std::string& name : names)
      if (old(name)) storage::rename_durably(path + "/" + name, aside + "/" + name);
    log_info(fmt::format("the old run was moved to {}.", aside));
    aside_ = aside;
  }

  std::optional<storage::Ownership> ownership_;  ///< on rank 0
  std::string aside_;                            ///< what begin() moved the old run to
  int64_t generation_ = 0;
};

/// Makes the run directory, which tells how often the run was started. Its taking already passes failpoints.
void arm_faults(const comm::World& world, const Deck& deck, const Options& options) {
  const char* text = std::getenv("LEPTON_FAULT");
  std::string faults = world.rank() == 0 && text ? text : "";
  std::vector<int64_t> restart{0};
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    storage::make_directories(deck.run.directory);
    if (!options.fresh) restart[0] = count_starts(deck.run.directory);
  });
  world.broadcast(faults);
  world.all_max(restart);
  run_context().rank = world.rank();
  run_context().restart = restart[0];
  comm::agree(world, [&] { arm_failpoints(faults); });
}

Schedule make_schedule(const Deck& deck, const Job& job) {
  using data::SplitKind;
  Schedule schedule;
  const int64_t steps_per_epoch = job.steps_per_epoch();
  schedule.last_step = deck.train.epochs * steps_per_epoch;
  if (deck.train.max_steps > 0) schedule.last_step = std::min(schedule.last_step, deck.train.max_steps);
  schedule.evaluate_every = deck.evaluation.every_steps > 0 ? deck.evaluation.every_steps
                                                            : deck.evaluation.every_epochs * steps_per_epoch;
  const bool validates = job.dataset.has(SplitKind::validation), tests = job.dataset.has(SplitKind::test);
  if (validates) {
    schedule.monitor = exact::RoundKind::validation;
    schedule.monitor_parts = job.parts_of(SplitKind::validation);
    schedule.test_at_end = tests;
    schedule.test_parts = job.parts_of(SplitKind::test);
  } else if (tests) {
    schedule.monitor = exact::RoundKind::test;
    schedule.monitor_parts = job.parts_of(SplitKind::test);
  }
  return schedule;
}

/// Parameters, moments and the small state from where this run begins.
RunState begin_state(Job& job, const Beginning& beginning) {
  const auto& [saved, in_memory, kept, parent, origin] = beginning;
  RunState state;
  if (in_memory) {
    load_kept(job.world, *in_memory, job.node);
    state = in_memory->state;
  } else if (saved) {
    load_state(job.world, *saved, job.optimizer.moments(), job.node, true);
    state = saved->state;
  } else if (parent) {
    load_state(job.world, *parent, {}, job.node, false);
  } else {
    initialise_state(job.world, job.graph, job.deck.run.seed, job.node);
  }
  job.graph.given.clear();
  job.world.node_barrier();
  if (job.world.leads()) hash_state(job.node, job.graph.layout, 0);
  if (in_memory) require_parameters_of(job.world, in_memory->told(), state, job.node);
  state.statistics = job.store.statistics();
  job.world.node_barrier();
  if (job.world.rank() == 0 && in_memory)
    log_info(fmt::format("continuing from {}.", in_memory->told()));
  else if (job.world.rank() == 0 && saved)
    log_info(fmt::format("continuing from {}.", saved->path));
  else if (job.world.rank() == 0 && parent)
    log_info(fmt::format("starting from the parameters of {}.", parent->path));
  state.schedule_steps = job.deck.optimizer.schedule.steps;
  return state;
}

void summarise(Job& job, const Trainer& trainer) {
  const report::RankTimes mine = trainer.times();
  const std::string bytes(reinterpret_cast<const char*>(&mine), sizeof mine);
  std::vector<report::RankTimes> all(job.world.size());
  const std::vector<std::string> gathered = job.world.all_gather(bytes);
  for (size_t rank = 0; rank < all.size(); ++rank)
    std::memcpy(&all[rank], gathered[rank].data(), sizeof mine);
  if (job.world.rank() != 0) return;
  log_info("time by rank:\n" + report::summary_table(all));
  std::vector<report::NodeWork> nodes = trainer.conductor()->balancer().record().totals();
  for (report::NodeWork& node : nodes) node.ranks = 0;
  for (const report::RankTimes& times : all) ++nodes[static_cast<size_t>(times.node)].ranks;
  if (nodes.size() > 1) log_info("units of training by node:\n" + report::balance_table(nodes));
}

/// run.json tells how a run ended, also when it failed.
void record_failure(const Job& job, const RunDirectory& directory, const Trainer& trainer,
                    const Error& error) {
  if (job.world.rank() != 0) return;
  try {
    directory.ownership().require_mine_now();
    const int64_t step = trainer.conductor()->state().step;
    record_end(job.deck.run.directory, step, static_cast<int>(error.code()));
  } catch (const std::exception& failure) {
    log_warning(fmt::format("run.json does not tell how this run ended: {}", failure.what()));
  }
}

Exit run(const Job& job, const RunDirectory& directory, Trainer& trainer) {
  try {
    return trainer.run();
  } catch (const Error& error) {
    record_failure(job, directory, trainer, error);
    throw;
  }
}

/// In the watchdog's thread, which may not call MPI: the launcher ends the other ranks when one ends.
void end_silent_job(const std::string& who, double silent_s) {
  const std::string text = fmt::format(
      "{} has made no progress for {:.0f} s (run.watchdog)\n  The state on disk is valid: start the job "
      "again.",
      who, silent_s);
  std::atomic<bool> logged = false;
  std::thread([&] {  // the log may be what hangs
    log_error(text);
    logged = true;
  })
      .detach();
  for (int look = 0; look < 20 && !logged; ++look) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  if (!logged) std::fprintf(stderr, "%s\n", text.c_str());
  std::_Exit(static_cast<int>(Exit::again));
}

/// **Rank 0 only.** For scripts: how the run ended, and the last evaluation of this start, if there was one.
void print_json(const Job& job, const Trainer& trainer, Exit exit, const std::string& hash) {
  nlohmann::ordered_json json{{"run", job.deck.run.directory},
                              {"step", trainer.conductor()->state().step},
                              {"state", exit == Exit::done ? "finished" : "stopped"},
                              {"parameters_hash", hash}};
  const EvaluationReport& report = trainer.conductor()->last_evaluation();
  if (report.samples > 0) {
    nlohmann::ordered_json& evaluation = json["evaluation"];
    evaluation = {{"split", data::split_name(static_cast<data::SplitKind>(report.kind))},
                  {"step", report.step},
                  {"samples", report.samples}};
    for (const auto& [name, value] : report.fields()) evaluation[name] = value;
  }
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void finish(Job& job, const RunDirectory& owned, const Trainer& trainer, Exit exit, const Options& options) {
  comm::agree(job.world, [&] {
    failpoint("finalize");
    if (job.world.rank() != 0) return;
    owned.ownership().require_mine_now();
    const RunState& state = trainer.conductor()->state();
    const uint64_t parameters = trainer.conductor()->parameters_hash();
    const std::string directory = job.deck.run.directory;
    if (exit == Exit::done)
      write_model(directory + "/model.safetensors", job.graph.layout, job.current_parameters(), parameters,
                  {{"step", std::to_string(state.step)}});
    const std::string hash = hex64(parameters);
    log_info(fmt::format("{} after step {}; parameters_hash: {}; everything is in {}",
                         exit == Exit::done ? "done" : "stopped", state.step, hash, directory));
    record_end(directory, state.step, static_cast<int>(exit));
    if (options.json) print_json(job, trainer, exit, hash);
  });
}

/// Of the first ledger line of this start. Without a state nothing of an old class is in the run: it has one
/// class, and its ledger no mark.
std::string first_note(const Deck& deck, const Beginning& beginning, bool new_class) {
  std::string note = deck.balance.classes == ClassPolicy::free ? "free-classes" : "";
  if (new_class && beginning.state()) note += std::string(note.empty() ? "" : ",") + "new-arithmetic-class";
  return note;
}

/// **Rank 0 only.** The files of a run whose start can no longer be refused; before its first step.
void open_books(const Job& job, const RunDirectory& owned, const RunIdentity& kept, const RunState& state,
                bool new_class, int64_t last_step, std::optional<Bookkeeper>& bookkeeper) {
  const Deck& deck = job.deck;
  const std::string& directory = deck.run.directory;
  storage::replace_file(directory + "/deck.toml", deck.resolved);
  std::optional<report::LedgerLine> last;
  if (!state.last_ledger_line.empty()) last = report::LedgerLine::decode(state.last_ledger_line);
  const bool free = deck.balance.classes == ClassPolicy::free;
  bookkeeper.emplace(deck, last, state.step, !new_class && !free, job.steps_per_epoch(),
                     job.dataset.split(data::SplitKind::train).samples, last_step,
                     [&owned] { owned.ownership().require_mine(); });
  bookkeeper->set_failures(failure_history(directory));
  // After the ledger: once the new class is on record its lines are compared again, and the old must be away.
  write_identity(directory, kept);
}

/// **Rank 0 only.** What of the saved state is damaged on disk and heals, which is no reason not to train.
std::vector<std::string> heal_saved(const Beginning& beginning) {
  std::vector<std::string> healed;
  if (!beginning.saved || !beginning.saved->damaged) return healed;
  const std::string& path = beginning.saved->path;
  try {
    for (const checkpoint::Damage& damage : checkpoint::heal(path)) {
      healed.push_back(
          fmt::format("{}/{}: {}", fs::path(path).filename().string(), damage.file, damage.what));
      log_info(fmt::format("healed {}/{}: {}", path, damage.file, damage.what));
    }
  } catch (const Error& error) {
    log_warning(fmt::format("checkpoint {} stays damaged on disk: {}", path, error.what()));
  }
  return healed;
}

checkpoint::WriterSpec writer_spec(const Job& job, const RunDirectory& directory) {
  const Deck& deck = job.deck;
  checkpoint::WriterSpec spec{{deck.run.directory + "/checkpoints", directory.generation(), {}},
                              deck.checkpoint.keep,
                              deck.run.shm_directory,
                              {},
                              job.slices.elements,
                              deck.checkpoint.parity};
  spec.layout.elements = job.graph.layout.elements();
  spec.layout.arrays = {"parameters"};
  for (const std::string& moment : job.optimizer.moments()) spec.layout.arrays.push_back(moment);
  if (job.world.rank() == 0)
    spec.place.still_owned = [&directory] { directory.ownership().require_mine_now(); };
  return spec;
}

}  // namespace

Exit train(const comm::World& world, const Options& options) {
  install_stop_handlers();
  install_stack_handler();
  Deck deck = load_deck(world, options);
  Watchdog watchdog(end_silent_job);
  if (deck.run.watched) watchdog.set_limit(deck.run.deadline_s);
  const Watchdog::Watch watch(watchdog, fmt::format("rank {}", world.rank()));
  comm::agree(world, [&] {
    REQUIRE(deck.data.train.has_value(), Exit::deck, "[data] train", "there is no train split",
            "Say which arrays to train on.");
  });
  arm_faults(world, deck, options);
  RunDirectory directory(world, deck, options);
  if (!options.fresh) directory.begin(world, deck, options);
  if (world.rank() == 0)
    for (const std::string& warning : deck.warnings) log_warning(warning);
  Beginning beginning = find_beginning(world, deck.run.directory, options);
  if (!options.fresh && deck.run.keep_state)
    find_in_memory(world, deck.run, directory.generation(), beginning);

  Job job(world, deck, beginning.state() ? &beginning.state()->statistics : nullptr, true, false,
          deck.run.keep_state ? kept_name(deck.run.directory, directory.generation(), world.node()) : "");
  KeptFile kept_file(job.node);
  comm::agree(world,
              [&] { resolve_schedule_steps(deck, job.steps_per_epoch(), beginning.schedule_steps()); });
  job.optimizer = optim::Optimizer(deck.optimizer, job.graph.statistics_momentum);
  const checkpoint::Identity identity = identity_of(deck, job.classes.arithmetic, job.dataset);
  bool new_class = false;
  comm::agree(world, [&] {
    new_class = beginning.check(identity, deck.run.directory, options.accept_new_arithmetic);
  });
  RunState state = begin_state(job, beginning);
  if (options.fresh) directory.begin(world, deck, options);

  const Schedule schedule = make_schedule(deck, job);
  std::optional<Bookkeeper> bookkeeper;
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    RunIdentity kept{identity, state.schedule_steps, beginning.origin};
    kept.parent.checkpoint = directory.present_path(deck, kept.parent.checkpoint);
    open_books(job, directory, kept, state, new_class, schedule.last_step, bookkeeper);
    record_start(deck.run.directory,
                 {world.size(), world.nodes(), state.step, job.classes.arithmetic, options.from,
                  job.classes.members, deck.operational, heal_saved(beginning)});
  });
  std::optional<checkpoint::Writer> writer;
  comm::agree(world, [&] {
    writer.emplace(world, writer_spec(job, directory), [&] {
      if (bookkeeper) bookkeeper->ledger().make_durable();
    });
  });

  kept_file.begin(job, directory.generation(), identity, state);
  Trainer& trainer =
      job.start(schedule, &*writer, identity, bookkeeper ? &*bookkeeper : nullptr, std::move(state),
                &watchdog, first_note(deck, beginning, new_class), kept_file.redundant());
  const Exit exit = run(job, directory, trainer);
  // From here on rank 0 waits for the disk, and the others for rank 0.
  const Unwatched unwatched;
  const Deadline::Lifted lifted(world.deadline());
  if (bookkeeper) bookkeeper->close();
  summarise(job, trainer);
  finish(job, directory, trainer, exit, options);
  kept_file.remove();  // what it held is on disk
  return exit;
}

}  // namespace lepton::train
