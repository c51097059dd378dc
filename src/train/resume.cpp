// SPDX-License-Identifier: Apache-2.0
// Finding, checking and reading saved states. Called by the commands train, evaluate and predict.
#include "train/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/hash.h"
#include "base/log.h"
#include "model/initialise.h"
#include "report/ledger.h"
#include "storage/file.h"
#include "train/initial_weights.h"

namespace lepton::train {

namespace {

namespace fs = std::filesystem;

SavedState open_checkpoint(const comm::World& world, const std::string& path) {
  std::optional<SavedState> saved;
  comm::agree(world, [&] {
    checkpoint::Reader reader(path);
    RunState state = RunState::decode(reader.small_state(), path + "/state.bin");
    saved.emplace(SavedState{path, std::move(reader), std::move(state)});
  });
  return std::move(*saved);
}

/// Work [begin, end) of this rank when the node's ranks share `count` items.
std::pair<int64_t, int64_t> share_of(const comm::World& world, int64_t count) {
  return {count * world.node_rank() / world.node_size(), count * (world.node_rank() + 1) / world.node_size()};
}

std::string absolute(const std::string& path) {
  return fs::absolute(path).string();
}

/// One spelling for each place, existing or not.
fs::path place_of(const std::string& path) {
  std::error_code error;
  const fs::path place = fs::weakly_canonical(fs::absolute(path), error);
  if (error) return path;
  return place.has_filename() ? place : place.parent_path();  // without the slash at its end
}

/// Checkpoints of equal states are equal byte for byte, and the manifest holds the hash of each.
std::string manifest_hash(const SavedState& state) {
  return hex64(hash64(state.reader.manifest().encode()));
}

/// **Collective.** A damaged file matters only while there is no state to compare with.
std::optional<RunIdentity> find_identity(const comm::World& world, const std::string& run_directory,
                                         bool has_state) {
  std::string text;
  comm::agree(world, [&] {
    if (world.rank() != 0) return;
    try {
      if (const std::optional<RunIdentity> kept = read_identity(run_directory)) text = kept->encode();
    } catch (const Error& error) {
      if (!has_state) throw;
      log_warning(fmt::format("{}: {}; the checkpoint tells what the run is, but no longer what --from was.",
                              error.where(), error.problem()));
    }
  });
  world.broadcast(text);
  if (text.empty()) return std::nullopt;
  return RunIdentity::decode(text, run_directory);
}

/// `from` on a directory that holds a run.
void require_same_parent(const Beginning& found, const std::string& from, const std::string& run_directory) {
  if (from.empty() || (!found.saved && !found.kept)) return;
  std::string begun = "without a record of where from";
  if (found.kept) {
    const Parent& parent = found.kept->parent;
    begun = parent.path.empty() ? "from initial values" : "from " + parent.path;
    for (const std::string& name : {parent.path, parent.checkpoint})
      if (!name.empty() && place_of(name) == place_of(from)) return;
  }
  fail(Exit::usage, "--from " + from,
       fmt::format("begins a new run, but there is one in {}, which was begun {}", run_directory, begun),
       "Leave --from out to continue that run, begin the new one in another run.dir, or start over with "
       "--fresh, which moves the old run aside.");
}

/// **Collective.** The parent of a run that was begun, but has no state of its own yet. It is the checkpoint
/// that was read the first time, also where the parent has gone on meanwhile.
SavedState open_parent_again(const comm::World& world, const Parent& parent,
                             const std::string& run_directory) {
  const auto refuse = [&](Exit code, const char* what) {
    fail(code, parent.checkpoint,
         fmt::format("the run in {} was begun from this checkpoint and has none of its own yet, but {}",
                     run_directory, what),
         "Put it back, or begin anew with --fresh (and --from), which moves the old run aside.");
  };
  comm::agree(world, [&] {
    if (world.rank() == 0 && !storage::read_file_if_exists(parent.checkpoint + "/manifest.json"))
      refuse(Exit::no_input, "it is gone");
  });
  SavedState state = open_checkpoint(world, parent.checkpoint);
  comm::agree(world, [&] {
    if (manifest_hash(state) != parent.manifest_hash) refuse(Exit::data, "it holds another state now");
  });
  return state;
}

}  // namespace

const RunState* Beginning::state() const {
  return in_memory ? &in_memory->state : saved ? &saved->state : nullptr;
}

int64_t Beginning::schedule_steps() const {
  return state() ? state()->schedule_steps : kept ? kept->schedule_steps : 0;
}

bool Beginning::check(const checkpoint::Identity& now, const std::string& run_directory,
                      bool accept_new_arithmetic) const {
  if (in_memory) return check_identity(in_memory->identity, now, run_directory, "", accept_new_arithmetic);
  if (saved)
    return check_identity(saved->reader.manifest().identity, now, run_directory, saved->path,
                          accept_new_arithmetic);
  return kept && check_identity(kept->identity, now, run_directory, "", accept_new_arithmetic);
}

Beginning find_beginning(const comm::World& world, const std::string& run_directory, const Options& options) {
  Beginning found{options.fresh ? std::nullopt : find_saved(world, run_directory), {}, {}, {}, {}};
  if (!options.fresh) found.kept = find_identity(world, run_directory, found.saved.has_value());
  comm::agree(world, [&] {
    if (world.rank() == 0) require_same_parent(found, options.from, run_directory);
  });
  if (found.kept) {
    found.origin = found.kept->parent;
    found.weights = found.kept->weights;
  }
  if (found.saved) return found;
  if (!found.origin.path.empty()) {
    found.parent.emplace(open_parent_again(world, found.origin, run_directory));
  } else if (!options.from.empty()) {
    found.parent.emplace(open_saved(world, options.from));
    found.origin = {absolute(options.from), absolute(found.parent->path), manifest_hash(*found.parent)};
  }
  return found;
}

/// Whether the state is of the run that this ledger tells of, and no line is missing before it: lines are not
/// synced between checkpoints, so rank 0's machine may have lost some; and what lies in memory may be of an
/// older run in the same directory.
static bool ledger_leads_to(const std::string& run_directory, const RunState& state) {
  const std::optional<report::LedgerLine> last = report::LedgerLine::decode(state.last_ledger_line);
  if (!last || last->step != state.step) return false;
  int64_t broken_at = 0;
  uint64_t chain = 0;
  for (const report::LedgerLine& line : report::read_ledger(run_directory + "/ledger.txt", broken_at)) {
    if (line.step == last->step) return line.chain == last->chain;
    if (line.step == last->step - 1) chain = line.chain;
  }
  return last->chain == last->chain_after(chain) && (chain != 0 || last->step == 1);
}

void find_in_memory(const comm::World& world, const RunSpec& run, int64_t generation, Beginning& beginning) {
  const int64_t saved = beginning.saved ? beginning.saved->state.step : 0;
  beginning.in_memory = find_kept(
      world, run.shm_directory, run.directory, generation,
      [&](const RunState& state) { return state.step > saved && ledger_leads_to(run.directory, state); });
}

std::optional<SavedState> find_saved(const comm::World& world, const std::string& run_directory) {
  const std::optional<checkpoint::Valid> found =
      checkpoint::newest_valid(world, run_directory + "/checkpoints");
  if (!found) return std::nullopt;
  SavedState saved = open_checkpoint(world, found->path);
  saved.damaged = !found->damages.empty();
  return saved;
}

SavedState open_saved(const comm::World& world, const std::string& path) {
  bool is_checkpoint = false;
  comm::agree(world, [&] { is_checkpoint = checkpoint::is_checkpoint(path); });
  if (is_checkpoint) return open_checkpoint(world, path);
  std::optional<SavedState> saved = find_saved(world, path);
  comm::agree(world, [&] {
    REQUIRE(saved.has_value(), Exit::no_input, path, "there is no checkpoint here",
            "Give a checkpoint directory (RUN/checkpoints/step-N) or a run directory that has been trained.");
  });
  return std::move(*saved);
}

bool check_identity(const checkpoint::Identity& saved, const checkpoint::Identity& now,
                    const std::string& where, const std::string& checkpoint, bool accept_new_arithmetic) {
  const std::string new_run =
      "start a new run: in another directory (--set run.dir=...), or here with --fresh, which moves the old "
      "run aside." +
      (checkpoint.empty() ? "" : fmt::format(" With --from {} it begins from this state.", checkpoint));
  const auto refuse = [&](const std::string& key, const std::string& before, const std::string& after) {
    fail(Exit::deck, key,
         fmt::format("changes the mathematics of the run in {}: it was {} and is now {}", where, before,
                     after),
         "Put the old value back, or " + new_run);
  };
  for (const auto& [key, value] : now.mathematical) {
    const auto old = saved.mathematical.find(key);
    if (old == saved.mathematical.end()) refuse(key, "absent", value);
    if (old->second != value) refuse(key, old->second, value);
  }
  for (const auto& [key, value] : saved.mathematical)
    if (!now.mathematical.contains(key)) refuse(key, value, "absent");
  REQUIRE(saved.data_fingerprint == now.data_fingerprint, Exit::deck, "[data]",
          fmt::format("the data is not the data that the run in {} was trained on", where),
          "Put the old files back, or " + new_run);
  if (saved.arithmetic_class == now.arithmetic_class) return false;
  REQUIRE(
      accept_new_arithmetic, Exit::deck, "arithmetic class",
      fmt::format("the run in {} was computed by '{}'; this job computes as '{}', so its bits would differ",
                  where, saved.arithmetic_class, now.arithmetic_class),
      "Use the same kind of nodes (or cap them with run.isa) and the same balance.classes and "
      "balance.shares, or "
      "go on with --accept-new-arithmetic.");
  return true;
}

void load_state(const comm::World& world, const SavedState& saved, const std::vector<std::string>& moments,
                NodeState& node, bool with_moments) {
  comm::agree(world, [&] {
    const checkpoint::Manifest& manifest = saved.reader.manifest();
    const auto elements = static_cast<int64_t>(node.parameters(0).size());
    REQUIRE(manifest.layout.elements == elements, Exit::deck, "[model]",
            fmt::format("this network has {} elements, the one in {} has {}", elements, saved.path,
                        manifest.layout.elements),
            "Use the deck that the checkpoint was trained with.");
    const auto [begin, end] = share_of(world, elements);
    saved.reader.read("parameters", begin, end, node.parameters(0).subspan(begin, end - begin));
    if (!with_moments) return;
    const auto [first, last] = share_of(world, node.slice_end() - node.slice_begin());
    for (size_t m = 0; m < moments.size(); ++m)
      saved.reader.read(moments[m], node.slice_begin() + first, node.slice_begin() + last,
                        node.moment(0, static_cast<int>(m)).subspan(first, last - first));
  });
}

void read_model_file(const std::string& path, const model::Graph& graph, std::span<float> parameters) {
  WeightsSpec all;
  all.file = path;
  all.ignore_unexpected = true;
  place_weights(all, graph, parameters, "Use the deck that the model was trained with.");
}

void load_safetensors(const comm::World& world, const std::string& path, const model::Graph& graph,
                      NodeState& node) {
  comm::agree(world, [&] {
    if (world.leads()) read_model_file(path, graph, node.parameters(0));
  });
}

void initialise_state(const comm::World& world, const model::Graph& graph, uint64_t seed, NodeState& node) {
  const auto [first, last] = share_of(world, static_cast<int64_t>(graph.layout.tensors().size()));
  model::initialise(graph, seed, static_cast<int>(first), static_cast<int>(last), node.parameters(0));
}

}  // namespace lepton::train
