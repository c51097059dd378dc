// SPDX-License-Identifier: Apache-2.0
// States that dead processes of a run have left in the memory of their machines (kept_state.h): found at a
// start on any number of nodes, verified, and the newest step whose every part some node of this job holds,
// or can be computed from copies with parity. In a living state parameters are whole on each node, moments
// are in slices. Called by train.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "comm/world.h"
#include "train/kept_part.h"
#include "train/node_state.h"
#include "train/run_state.h"

namespace lepton::train {

/// What the files of a run are named by: the user, the run directory, the owner's generation, the node.
std::string kept_name(const std::string& run_directory, int64_t generation, int node);
std::string copies_name(const std::string& run_directory, int64_t generation, int node);

/// A whole one.
struct KeptWhole {
  checkpoint::Identity identity;
  RunState state;
  KeptPart parameters;           ///< a part that has them; of copies: one that has the small state
  std::vector<KeptPart> parts;   ///< whose slices cover all moments; none where there are no moments
  std::vector<KeptPart> copies;  ///< by node, instead of them: what is there of copies (kept_copies.h)
  /// "the state of step 7, which ...".
  std::string told() const;
};

/// **Collective.** The newest whole state of this run in the job's machines, of generations before this one,
/// that rank 0 accepts.
std::optional<KeptWhole> find_kept(const comm::World& world, const std::string& shm_directory,
                                   const std::string& run_directory, int64_t generation,
                                   const std::function<bool(const RunState&)>& accept);
/// **Collective.** Into slot 0 of all nodes.
void load_kept(const comm::World& world, const KeptWhole& whole, NodeState& node);
/// **Collective.** The parameters that were loaded into slot 0, and hashed, are those of the state's ledger
/// line: else Error(io).
void require_parameters_of(const comm::World& world, const std::string& where, const RunState& state,
                           NodeState& node);
/// **Local.** On the first rank of each host: removes the files of this run there, of generations before this
/// one; `copies`: also those of copies.
void remove_kept(const comm::World& world, const std::string& shm_directory, const std::string& run_directory,
                 int64_t generation, bool copies = true);

}  // namespace lepton::train
