// SPDX-License-Identifier: Apache-2.0
// Where a run begins: the newest valid checkpoint of its directory, another run's checkpoint (--from), or
// initial values. Also what the commands evaluate and predict read. Changed mathematics between starts is
// refused here, with the key's name.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>

#include "checkpoint/reader.h"
#include "comm/world.h"
#include "exact/slices.h"
#include "model/graph.h"
#include "train/deck.h"
#include "train/node_state.h"
#include "train/run_state.h"

namespace lepton::train {

/// A state on disk that has been verified: its checkpoint's reader and its small state.
struct SavedState {
  std::string path;
  checkpoint::Reader reader;
  RunState state;
};

/// **Collective.** The newest valid checkpoint of a run directory, or nothing.
std::optional<SavedState> find_saved(const comm::World& world, const std::string& run_directory);
/// **Collective.** One checkpoint, or the newest valid one of a run directory. Error(no_input, data) if there
/// is none.
SavedState open_saved(const comm::World& world, const std::string& path);

/// Throws Error(deck) naming the first key that differs, Error(deck) for another arithmetic class unless
/// accepted, Error(deck) for changed data. Returns true when the class changed (and was accepted).
bool check_identity(const checkpoint::Identity& saved, const checkpoint::Identity& now,
                    const std::string& where, bool accept_new_arithmetic);

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
