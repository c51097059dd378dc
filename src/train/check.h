// SPDX-License-Identifier: Apache-2.0
// The plan of a run before it exists: samples, steps, units, threads, memory, from the deck and the metadata
// of its data alone; no row is read, nothing is written. Called by the command `check`.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "comm/world.h"
#include "data/dataset.h"
#include "model/graph.h"
#include "train/deck.h"
#include "train/setup.h"
#include "train/threads.h"

namespace lepton::train {

/// Bytes that one node needs (issue: "Memory"): the dataset's part once, the state once, and what each thread
/// has.
struct MemoryNeeds {
  int64_t data = 0;        ///< rows resident on a node, in their stored type
  int64_t state = 0;       ///< two slots of parameters and moments, the sum, their control
  int64_t checkpoint = 0;  ///< the copy of this node's slice while a checkpoint is in flight
  int64_t staging = 0;     ///< rows of other nodes, ahead of use; 0 with one node
  int64_t per_thread = 0;  ///< activations and the largest tensor's gradient
  int64_t threads = 0;     ///< compute threads of the node
  int64_t total() const { return data + state + checkpoint + staging + per_thread * threads; }
};

/// The largest node's needs.
MemoryNeeds memory_needs(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph,
                         const UnitSizes& sizes, int nodes, int node_threads);

/// What `check` prints; `warnings` and (where memory does not suffice) `memory.missing_bytes` among it.
/// available: what the poorest machine has left, shared by its nodes.
nlohmann::ordered_json check_report(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph,
                                    const UnitSizes& sizes, const ThreadShare& threads, int ranks, int nodes,
                                    int64_t available_bytes);

/// The same for people; `table` is model::describe's.
std::string check_text(const nlohmann::ordered_json& report, const std::string& table);

}  // namespace lepton::train
