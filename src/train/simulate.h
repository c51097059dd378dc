// SPDX-License-Identifier: Apache-2.0
// What a run would be on machines that are not there yet: the units of its steps by the shipped policy in the
// simulator (balance/forecast), the rest by formulas (estimate), for a cluster and for smaller jobs on it.
// From the deck, the metadata of its data and the cluster file; no row is read, nothing is computed or
// written. Called by the command `simulate`.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/graph.h"
#include "train/calibration.h"
#include "train/cluster.h"
#include "train/deck.h"

namespace lepton::train {

/// 1, 2, 4, ... and all ranks of the cluster.
std::vector<int64_t> default_sizes(const Cluster& cluster);

/// What `simulate` prints; `sizes` ascending, in ranks. `steps`: simulated steps that count; 0: as many as
/// take seconds. Throws Error(deck) where nobody says how long a unit takes, where the cluster mixes devices
/// and the deck refuses that, and where a share of classes has no machines.
nlohmann::ordered_json simulate_report(const Deck& deck, const data::Dataset& dataset,
                                       const model::Graph& graph, const Cluster& cluster,
                                       const std::optional<Calibration>& calibration,
                                       const std::vector<int64_t>& sizes, int64_t steps);

/// The same for people: tables of at most 100 columns.
std::string simulate_text(const nlohmann::ordered_json& report);

}  // namespace lepton::train
