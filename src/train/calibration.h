// SPDX-License-Identifier: Apache-2.0
// Calibration: what a finished or running run has measured of its own work: how long a unit takes on one of
// its threads, and a step outside its units. Read from the lines of kind balance in its metrics.jsonl, of the
// newest start the later half, as speeds are still being learned in the first; from its deck.toml, which says
// what a unit was; and from run.json. For the command `simulate`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/deck.h"

namespace lepton::train {

struct Calibration {
  std::string run;
  int64_t lines = 0;                    ///< that the figures are medians of
  int ranks = 0, nodes = 0;             ///< ranks 0: run.json does not tell
  int64_t threads = 0;                  ///< of all nodes
  double unit_s = 0;                    ///< thread time of a unit, mean over all threads
  double slowest_s = 0, fastest_s = 0;  ///< the same of single nodes
  double rest_s = 0;                    ///< of a step outside its units
  double efficiency = 0;
  std::vector<std::string> warnings;  ///< whole sentences
};

/// Throws Error(no_input) where there is no run, Error(data) where it has measured nothing (damaged lines are
/// passed over), Error(usage) where its network is not the deck's, so that its units say nothing of this
/// deck's. Units of another size are taken to cost time in proportion, with a warning.
Calibration read_calibration(const std::string& run_directory, const Deck& deck);

}  // namespace lepton::train
