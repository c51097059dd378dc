// SPDX-License-Identifier: Apache-2.0
// The plan of a run before it exists: samples, steps, units, threads, memory, from the deck and the metadata
// of its data alone; no row is read, nothing is written. What only rows can show (bad labels, NaN, the number
// of classes) is found when training starts, and the plan says so. Called by the command `check`.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "comm/world.h"
#include "data/dataset.h"
#include "model/graph.h"
#include "train/deck.h"
#include "train/host_math.h"
#include "train/setup.h"
#include "train/threads.h"

namespace lepton::train {

/// How the job is cut, and whether rank 0's node computes on a device.
struct JobCut {
  int ranks = 1, nodes = 1, machines = 1;
  bool device = false;
};

/// What `check` prints; `warnings` and, where memory does not suffice, `memory.missing_bytes` and
/// `memory.feasible_nodes` (0: none) among it. available: what the poorest host has left, shared by its
/// nodes.
nlohmann::ordered_json check_report(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph,
                                    const UnitSizes& sizes, const ThreadShare& threads, const HostMath& math,
                                    const JobCut& job, int64_t available_bytes);

/// The same for people; `table` is model::describe's.
std::string check_text(const nlohmann::ordered_json& report, const std::string& table);

}  // namespace lepton::train
