// SPDX-License-Identifier: Apache-2.0
// The program lepton: the command line, MPI's lifetime, and the only catch-all. Exit codes are those of
// base/error.h. An Error that all ranks agree on is printed by rank 0 and every rank ends by itself; any
// other failure is printed by the rank that has it, which then ends all ranks (no wait of theirs is endless,
// but nobody should wait for it).
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "comm/mpi_version.h"
#include "comm/node_barrier.h"
#include "comm/world.h"
#include "model/graph.h"
#include "ops/cuda_module.h"
#include "ops/table.h"
#include "storage/hdf5_version.h"
#include "train/cluster.h"
#include "train/commands.h"
#include "train/deck_transforms.h"
#include "train/devices.h"
#include "train/setup.h"

#ifndef LEPTON_VERSION
#define LEPTON_VERSION "unknown"
#endif

namespace {

using lepton::Exit;
using lepton::train::Options;

int code_of(Exit exit) {
  return static_cast<int>(exit);
}

/// A command on all ranks, or one that needs no MPI.
struct Command {
  std::string name;
  Exit (*collective)(const lepton::comm::World&, const Options&) = nullptr;
  std::function<Exit(const Options&)> local;
  bool computes = true;  ///< the deck's device is needed
  bool has_deck = true;  ///< of a collective one: its target
};

std::string version_text() {
  return "lepton " LEPTON_VERSION "\n" + lepton::comm::mpi_version() + "\nHDF5 " +
         lepton::storage::hdf5_version() + "\n" + lepton::ops::math_library_version() + "\n" +
         lepton::ops::cuda_version() + "\nCLI11 " CLI11_VERSION;
}

Exit print_keys(const Options&) {
  std::cout << "Keys of a deck\n\n"
            << lepton::train::key_reference() << "\nTransforms of data.transforms\n\n"
            << lepton::train::transform_reference() << "\nLayers of [model] layers\n\n"
            << lepton::model::layer_reference();
  return Exit::done;
}

// ---- Command line

/// The rank that a launcher gave this process, before MPI is up: only rank 0 talks about the command line.
int launcher_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
    if (const char* text = std::getenv(name)) return std::atoi(text);
  return 0;
}

/// The parsed command line; `sets` are the raw words of --set.
struct CommandLine {
  CLI::App app{
      "Lepton trains neural networks on HDF5 data across MPI ranks; the bits do not depend on how many.",
      "lepton"};
  Options options;
  std::vector<std::string> sets;

  CommandLine();
  CLI::App* add(const std::string& name, const std::string& text, const std::string& target,
                const std::string& target_text);
  void add_set(CLI::App* command);
  void add_checkpoint(CLI::App* command);
  void add_train();
  void add_evaluate();
  void add_predict();
  void add_prepare();
  void add_generate();
  void add_export();
  void add_simulate();
  void add_status();
};

void CommandLine::add_set(CLI::App* command) {
  command->add_option("--set", sets, "KEY=VALUE: overrides a key of the deck; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);  // DECK may follow
}

void CommandLine::add_checkpoint(CLI::App* command) {
  command->add_option("--checkpoint", options.checkpoint,
                      "checkpoint, run directory or model.safetensors; default: the deck's run");
}

CLI::App* CommandLine::add(const std::string& name, const std::string& text, const std::string& target,
                           const std::string& target_text) {
  CLI::App* command = app.add_subcommand(name, text);
  if (!target.empty()) command->add_option(target, options.target, target_text)->required();
  if (target == "DECK") add_set(command);
  if (!target.empty()) command->add_flag("--json", options.json, "print JSON, for scripts");
  return command;
}

void CommandLine::add_train() {
  CLI::App* train = add("train", "Trains; continues by itself where the run directory holds a checkpoint",
                        "DECK", "the deck (TOML)");
  train->add_flag("--fresh", options.fresh, "start over; the old run is moved aside, never deleted");
  train->add_option("--max-steps", options.max_steps, "end after this step, counted from the very beginning")
      ->check(CLI::Range(int64_t{1}, int64_t{4294967295}));
  train->add_option("--from", options.from, "start a new run from another run's checkpoint");
  train->add_flag("--accept-new-arithmetic", options.accept_new_arithmetic,
                  "continue on hardware or libraries that give other bits");
}

void CommandLine::add_evaluate() {
  CLI::App* evaluate = add("evaluate", "Evaluates a trained model on a split", "DECK", "the deck (TOML)");
  add_checkpoint(evaluate);
  evaluate->add_option("--split", options.split, "test (default), validation or train")
      ->check(CLI::IsMember({"test", "validation", "train"}));
}

void CommandLine::add_predict() {
  CLI::App* predict = add("predict", "Scores rows of any HDF5 files", "DECK", "the deck (TOML)");
  add_checkpoint(predict);
  predict
      ->add_option("--inputs", options.inputs,
                   "FILE.h5:PATH of the inputs, of several NAME=PATH,NAME.lengths=PATH,...; FILE.h5 may be "
                   "a quoted glob, whose files are concatenated, sorted by name")
      ->required();
  predict
      ->add_option("--output", options.output,
                   "FILE.h5 to write; takes the place of an earlier one at the end")
      ->required();
  predict->footer(
      "Row i of the output belongs to row i of the inputs. `scores` is what the last layer gives; `classes`\n"
      "is the index of the largest score. One output under binary_cross_entropy is a logit: the class is 1\n"
      "where it is above 0. Several are independent labels and, like regressions, have no `classes`.");
}

void CommandLine::add_prepare() {
  CLI::App* prepare = add("prepare", "Text to an HDF5 file of tokens, in parallel; or a graph to one sample",
                          "OUT.h5", "the file to make; takes the place of an earlier one at the end");
  prepare->add_option("--text", options.texts, "a text file; repeatable");
  prepare->add_option("--graph", options.graph,
                      "an HDF5 file: adjacency and features (arrays or CSR), labels, split/train, ...");
  prepare->add_flag("--feature-shares", options.feature_shares,
                    "with --graph: a node's features are divided by their sum");
  prepare->add_option("--tokens", options.tokens, "bytes, characters (default) or words")
      ->check(CLI::IsMember({"bytes", "characters", "words"}));
  prepare->add_option("--vocabulary", options.vocabulary, "so many words at most, the most frequent (20000)")
      ->check(CLI::Range(int64_t{3}, int64_t{16777216}));
  prepare->add_option("--validation", options.validation, "share of the text, its end, for validation")
      ->check(CLI::Range(0.0, 0.9));
  prepare->add_flag("--labelled", options.labelled, "each file is a class, each of its lines a sample");
  prepare->add_option("--length", options.length, "tokens of a sample, with --labelled; default: the longest")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  prepare->footer(
      "Running text gives train/tokens and validation/tokens, which data.sequence of a deck cuts into\n"
      "windows. Labelled text gives tokens [N, T], filled up with padding (0), lengths [N] and labels [N]:\n"
      "the number of the file. Of words 0 is padding and 1 stands for those that are not in the\n"
      "vocabulary. Words are runs of letters, digits and apostrophes, ASCII capitals made small; every\n"
      "other printing character is a word. The vocabulary lies beside the tokens. Any number of ranks\n"
      "makes the same file. A graph gives features [1, N, F], labels [1, N] of each split, in which -1\n"
      "marks the nodes of the others (data.ignored_class = -1), and the adjacency (data.adjacency).");
}

void CommandLine::add_generate() {
  CLI::App* generate = add("generate", "Continues a text by a model that predicts the next token", "DECK",
                           "the deck (TOML); its data file holds the vocabulary");
  add_checkpoint(generate);
  generate->add_option("--prompt", options.prompt, "the text to continue; default: a line's end");
  generate->add_option("--count", options.count, "tokens to generate (default 200)")
      ->check(CLI::Range(int64_t{1}, int64_t{100000000}));
  generate
      ->add_option("--temperature", options.temperature,
                   "divides the scores: below 1 likely tokens become likelier (default 1; 0: the likeliest)")
      ->check(CLI::Range(0.0, 1000.0));
  generate->add_option("--top-k", options.top_k, "draws among so many likeliest tokens only (default 0: all)")
      ->check(CLI::Range(int64_t{0}, int64_t{1000000000}));
  generate->add_option("--seed", options.seed, "another one gives another text (default 1)");
}

void CommandLine::add_export() {
  CLI::App* command = add("export", "Writes a trained network as an ONNX file", "DECK", "the deck (TOML)");
  command->add_option("OUT.onnx", options.output, "the file; takes the place of an earlier one")->required();
  add_checkpoint(command);
  command->add_option("--opset", options.opset, "13 to 21 (default 17)")->check(CLI::Range(13, 21));
  command->add_flag("--normalize", options.normalize, "the model takes inputs as they are stored");
  command->footer(
      "The model takes float32 [N, ...], in ONNX's order of dimensions, for any N, and gives raw scores.\n"
      "Operators newer than the opset are functions of the domain lepton, which runtimes inline.");
}

void CommandLine::add_simulate() {
  CLI::App* simulate = add("simulate", "Predicts step time, efficiency and node-hours of a run on a cluster",
                           "DECK", "the deck (TOML)");
  simulate->add_option("--cluster", options.cluster, "FILE that describes the machines (TOML), see below")
      ->required();
  simulate->add_option("--from", options.from, "RUN_DIR of a run that has measured how long units take");
  simulate
      ->add_option("--sizes", options.sizes, "numbers of ranks, as in 1,8,64; default: 1, 2, 4, ... and all")
      ->delimiter(',')
      ->type_name("RANKS,...")
      ->check(CLI::Range(int64_t{1}, int64_t{409600000}));
  simulate->add_option("--steps", options.simulated_steps, "simulated steps behind each figure")
      ->check(CLI::Range(int64_t{1}, int64_t{100000}));
  simulate->footer("Keys of a cluster file (inputs/clusters has samples)\n\n" +
                   lepton::train::cluster_reference());
}

void CommandLine::add_status() {
  CLI::App* status =
      add("status", "Tells how a run stands", "RUN_DIR", "the run directory, or a deck that names it");
  add_set(status);
  status->add_flag("--where", options.where, "print the run directory and nothing else");
}

CommandLine::CommandLine() {
  app.require_subcommand(1);
  app.set_version_flag("--version", version_text, "print the versions of Lepton and its libraries");
  app.footer("`lepton COMMAND --help` tells a command's options, `lepton keys` all keys of a deck.");
  add_train();
  add_evaluate();
  add_predict();
  add_prepare();
  add_generate();
  add_export();
  add("check",
      "Checks the deck and the shapes of the data, reading no rows: parameters, memory, units, cores", "DECK",
      "the deck (TOML)");
  add_simulate();
  add("inspect", "Tells what a path holds and whether it is intact", "PATH",
      "dataset, checkpoint, run directory, model.safetensors or ONNX file");
  add_status();
  add("compare", "Tells at which step two runs part, and in what; exit code 1 where they do", "RUN_DIR",
      "a run directory")
      ->add_option("OTHER_DIR", options.other, "another one")
      ->required();
  add("keys", "Prints all keys of decks and all layers", "", "");
}

/// What could have been meant by a word that CLI11 did not expect.
std::string hint_for(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  if (const auto commands = app.get_subcommands(); !commands.empty()) {
    for (const CLI::Option* option : commands.front()->get_options())
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  } else {
    for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
    names.insert(names.end(), {"--help", "--version"});
  }
  const std::string nearest = lepton::nearest_name(word.substr(0, word.find('=')), names);
  if (!nearest.empty()) return "Did you mean " + nearest + "?";
  return "See lepton --help, or lepton COMMAND --help.";
}

/// Only rank 0 talks about the command line. The others give it time to: mpirun ends all when one ends with
/// an error.
int leave_to_rank_0() {
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  return code_of(Exit::usage);
}

int report_usage(const CLI::App& app, const CLI::ParseError& error) {
  const bool help = error.get_exit_code() == 0;
  if (launcher_rank() != 0) return help ? 0 : leave_to_rank_0();
  if (help) return app.exit(error);
  std::string hint = "See lepton --help, or lepton COMMAND --help.";
  if (const std::vector<std::string> rest = app.remaining(true); !rest.empty()) {
    hint = hint_for(app, rest.front());
    lepton::log_error("unknown argument " + rest.front() + "\n  " + hint);
  } else {
    lepton::log_error(std::string(error.what()) + "\n  " + hint);
  }
  return code_of(Exit::usage);
}

/// `--set key=value` as overrides; false when one is malformed.
bool split_sets(const std::vector<std::string>& sets, Options& options) {
  for (const std::string& text : sets) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      if (launcher_rank() == 0)
        lepton::log_error("--set " + text + " is not KEY=VALUE\n  Example: --set train.epochs=5");
      return false;
    }
    options.overrides.push_back({text.substr(0, equals), text.substr(equals + 1)});
  }
  return true;
}

// ---- Running

/// Prints the failure in flight if it is this rank's to print. `ends_alone`: no other rank must be ended.
int report_failure(int rank, int ranks, bool& ends_alone) {
  ends_alone = ranks == 1;
  try {
    throw;
  } catch (const lepton::Error& error) {
    ends_alone = ends_alone || error.agreed();
    if (!error.agreed() || rank == 0) lepton::log_error(error.what());
    return code_of(error.code());
  } catch (const lepton::comm::NodeFailed&) {
    // The rank that has the real error ends the job within moments, with its own code.
    std::this_thread::sleep_for(std::chrono::seconds(30));
    return code_of(Exit::software);
  } catch (const std::bad_alloc&) {
    lepton::log_error("out of memory; `lepton check` tells what a run needs.");
    return code_of(Exit::memory);
  } catch (const std::exception& error) {
    lepton::log_error(std::string(error.what()) + "\n  This is a bug in Lepton; the last checkpoint stands.");
    return code_of(Exit::software);
  } catch (...) {
    lepton::log_error("an exception of unknown type. This is a bug in Lepton; the last checkpoint stands.");
    return code_of(Exit::software);
  }
}

/// Runs `work` inside the program's only catch-all.
int guarded(int rank, int ranks, const std::function<Exit()>& work) {
  try {
    return code_of(work());
  } catch (...) {
    bool ends_alone = false;
    const int code = report_failure(rank, ranks, ends_alone);
    if (!ends_alone) lepton::comm::Session::abort(code);
    return code;
  }
}

/// The deck says how long waits may last and what ranks compute on, so a first world reads it and the real
/// one is made from what it says.
int run_collective(const lepton::comm::World& first, const Command& command, const Options& options) {
  lepton::start_log(first.rank(), first.size());
  return guarded(first.rank(), first.size(), [&] {
    if (!command.has_deck) return command.collective(first, options);
    const lepton::train::Deck deck = lepton::train::load_deck(first, options);
    const bool alone =
        command.computes && lepton::train::choose_device(first, deck).kind != lepton::DeviceKind::cpu;
    const lepton::comm::World world(deck.run.deadline_s, 0, alone);
    const int code = guarded(world.rank(), world.size(), [&] { return command.collective(world, options); });
    return static_cast<Exit>(code);
  });
}

int run(const Command& command, const Options& options, int& argc, char**& argv) {
  if (command.local) return guarded(0, 1, [&] { return command.local(options); });
  const int launched_as = launcher_rank();
  // Whatever MPI's beginning throws may be this rank's alone: then it ends the job. The inner guard speaks
  // before the session ends, behind which another rank's exit code ends this one.
  return guarded(launched_as, 2, [&] {
    lepton::comm::Session session(argc, argv);
    return static_cast<Exit>(guarded(launched_as, 2, [&] {
      const lepton::comm::World first;
      return static_cast<Exit>(run_collective(first, command, options));
    }));
  });
}

}  // namespace

int main(int argc, char** argv) {
  setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
  CommandLine line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report_usage(line.app, error);
  }
  if (!split_sets(line.sets, line.options))
    return launcher_rank() == 0 ? code_of(Exit::usage) : leave_to_rank_0();
  const std::vector<Command> commands = {
      {"train", lepton::train::train, {}},          {"evaluate", lepton::train::evaluate, {}},
      {"predict", lepton::train::predict, {}},      {"prepare", lepton::train::prepare, {}, false, false},
      {"generate", lepton::train::generate, {}},    {"export", lepton::train::export_model, {}, false},
      {"check", lepton::train::check, {}},          {"simulate", lepton::train::simulate, {}, false},
      {"inspect", nullptr, lepton::train::inspect}, {"status", nullptr, lepton::train::status},
      {"compare", nullptr, lepton::train::compare}, {"keys", nullptr, print_keys}};
  const std::string name = line.app.get_subcommands().front()->get_name();
  for (const Command& command : commands)
    if (command.name == name) return run(command, line.options, argc, argv);
  return code_of(Exit::software);
}
