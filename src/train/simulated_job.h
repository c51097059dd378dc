// SPDX-License-Identifier: Apache-2.0
// A run as a subject of simulation, and its jobs of various sizes on a cluster: what the deck, the metadata
// of its data, the cluster file and a measuring run say together, in the terms of balance/forecast and
// estimate. Pure functions. Called by simulate.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "balance/forecast.h"
#include "data/dataset.h"
#include "model/graph.h"
#include "train/calibration.h"
#include "train/cluster.h"
#include "train/deck.h"
#include "train/estimate.h"

namespace lepton::train {

/// What is the same for all sizes.
struct Subject {
  const Deck& deck;
  const data::Dataset& dataset;
  const model::Graph& graph;
  const Cluster& cluster;
  const std::optional<Calibration>& calibration;
  std::vector<double> unit_s = {};       ///< by group
  std::vector<int> class_of_group = {};  ///< of the deck's shares
  std::vector<int64_t> shares = {};
  RunLength length = {};
  int64_t batch = 0, unit_size = 0;
  int64_t rounds = 0;  ///< simulated, that count
  int moments = 0;
};
/// `steps`: to simulate; 0: as many as take seconds. Errors as simulate_report's.
Subject make_subject(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph,
                     const Cluster& cluster, const std::optional<Calibration>& calibration, int64_t steps);

/// A job of a certain size.
struct SimulatedJob {
  std::vector<Machine> machines;
  balance::ForecastJob units;
  Links links;
  int64_t ranks = 0, threads = 0;
};
SimulatedJob make_job(const Subject& subject, int64_t ranks);
/// Every class of balance.shares has a node.
bool holds_all_classes(const Subject& subject, const SimulatedJob& job);

/// The end of a step by the formulas, set right by what the measuring run took.
StepEnd step_end_of(const Subject& subject, const SimulatedJob& job);

}  // namespace lepton::train
