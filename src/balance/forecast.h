// SPDX-License-Identifier: Apache-2.0
// Forecast: what the units of a step would take on nodes that are not there yet: rounds of the simulator,
// planned by the planner as train plans them (the plan of round r + 2 from the speeds of round r), with units
// whose times vary by seeded noise. A pure function: the same job gives the same figures. The first rounds,
// in which speeds are learned, do not count. Called by the command `simulate`.
#pragma once

#include <cstdint>
#include <vector>

#include "balance/planner.h"
#include "balance/simulator.h"

namespace lepton::balance {

struct ForecastNode {
  int threads = 1;
  double unit_s = 0;  ///< mean thread time of a unit, > 0
  double noise = 0;   ///< standard deviation of a unit's time, relative to the mean
  int node_class = 0;
};

struct ForecastJob {
  std::vector<ForecastNode> nodes;
  std::vector<int64_t> shares = {1};  ///< of the classes
  int64_t units = 0;                  ///< of a step
  Policy policy = Policy::steal;
  SimulatedNetwork network;
  double look_s = 0;  ///< the longest that a computing main thread leaves messages alone; 0: to a unit's end
  uint64_t seed = 0;
  int64_t warm_up_rounds = 4, rounds = 8;
};

/// Means over the rounds that count.
struct Forecast {
  double units_s = 0;                                   ///< until all nodes had done their units
  double shortest_s = 0, longest_s = 0;                 ///< of the rounds
  double messages = 0, rank_0_messages = 0, moved = 0;  ///< per round; moved: units
  double rank_0_busy_s = 0;                             ///< with messages and decisions
};

/// Throws Error(software) where the simulator's invariants do not hold. Nodes, units and rounds from 1.
Forecast forecast(const ForecastJob& job);

/// Units per second of all nodes together, and of each.
double sum_of_speeds(const ForecastJob& job);
std::vector<double> speeds_of(const ForecastJob& job);
/// When the best plan of whole units ends, classes respected; no noise.
double whole_units_s(const ForecastJob& job);

/// A factor of mean 1 and of this relative standard deviation, lognormal, so that no unit takes less than no
/// time: a pure function of its arguments.
double noise_factor(uint64_t seed, int64_t round, int64_t unit, double noise);

}  // namespace lepton::balance
