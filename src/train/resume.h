// SPDX-License-Identifier: Apache-2.0
// Where a run begins: the newest valid checkpoint of its directory, another run's checkpoint (--from), or
// initial values. Also what the commands evaluate and predict read. Changed mathematics between starts is
// refused here, with the key's name, and so is another parent.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>

#include "checkpoint/reader.h"
#include "comm/world.h"
#include "exact/slices.h"
#include "model/graph.h"
#include "train/commands.h"
#include "train/deck.h"
#include "train/kept_search.h"
#include "train/node_state.h"
#include "train/run_record.h"
#include "train/run_state.h"

namespace lepton::train {

/// A state on disk that has been verified: its checkpoint's reader and its small state.
struct SavedState {
  std::string path;
  checkpoint::Reader reader;
  RunState state;
  bool damaged = false;  ///< on disk; the reader heals what it reads
};

/// **Collective.** The newest valid checkpoint of a run directory, or nothing.
std::optional<SavedState> find_saved(const comm::World& world, const std::string& run_directory);
/// **Collective.** One checkpoint, or the newest valid one of a run directory. Error(no_input, data) if there
/// is none.
SavedState open_saved(const comm::World& world, const std::string& path);

/// What a start of `train` finds in its run directory.
struct Beginning {
  std::optional<SavedState> saved;     ///< the newest state on disk
  std::optional<KeptWhole> in_memory;  ///< a newer one, which is continued from instead
  std::optional<RunIdentity> kept;     ///< what the run is since its first start
  std::optional<SavedState> parent;    ///< whose parameters it begins with; only where there is no `saved`
  Parent origin;                       ///< of the run, whether it begins or continues
  InitialWeights weights = {};         ///< the same; begin_state notes them at the first start

  /// The state to continue from; null: there is none.
  const RunState* state() const;
  int64_t schedule_steps() const;  ///< resolved at the first start; 0: this is the first, or there are none
  /// **Local.** Whether the arithmetic class changed (and was accepted) since the last start; throws as
  /// check_identity does. Without a state the run is compared with what it was begun as.
  bool check(const checkpoint::Identity& now, const std::string& run_directory,
             bool accept_new_arithmetic) const;
};

/// **Collective.** Changes nothing. A run goes on from the parent it was begun with, whether --from names it
/// again or not. Throws Error(usage) where --from names another, Error(no_input) or Error(data) where the
/// parent is needed once more and is no longer what it was.
Beginning find_beginning(const comm::World& world, const std::string& run_directory, const Options& options);
/// **Collective.** Also looks for a state that dead processes of an earlier generation have left in memory,
/// newer than the one on disk, and such that the ledger leads to it.
void find_in_memory(const comm::World& world, const RunSpec& run, int64_t generation, Beginning& beginning);

/// Throws Error(deck) naming the first key that differs, Error(deck) for another arithmetic class unless
/// accepted, Error(deck) for changed data. Returns true when the class changed (and was accepted). `where` is
/// the run directory, `checkpoint` its newest state for the hint, "" while it has none.
bool check_identity(const checkpoint::Identity& saved, const checkpoint::Identity& now,
                    const std::string& where, const std::string& checkpoint, bool accept_new_arithmetic);

/// **Collective over the node.** Reads parameters (all) and, with `with_moments`, this node's slice of the
/// moments into slot 0. The ranks of the node share the work.
void load_state(const comm::World& world, const SavedState& saved, const std::vector<std::string>& moments,
                NodeState& node, bool with_moments);
/// **Local.** Parameters by name from a safetensors file into an arena. Error(data) for a missing or
/// misshapen tensor.
void read_model_file(const std::string& path, const model::Graph& graph, std::span<float> parameters);
/// **Collective over the node.** The same into slot 0.
void load_safetensors(const comm::World& world, const std::string& path, const model::Graph& graph,
                      NodeState& node);
/// **Collective over the node.** Initial values into slot 0.
void initialise_state(const comm::World& world, const model::Graph& graph, uint64_t seed, NodeState& node);

}  // namespace lepton::train
