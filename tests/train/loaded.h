// SPDX-License-Identifier: Apache-2.0
// For tests: a deck of the small runs with its dataset.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "data/store.h"
#include "small_runs.h"
#include "train/setup.h"

namespace lepton::train {

/// A dataset whose classes are known.
struct Loaded {
  Loaded(const SmallRuns& runs, const std::string& deck_name, std::vector<Override> overrides = {})
      : deck(load_deck(runs.world(), runs.options(deck_name, "run", std::move(overrides)))),
        dataset(runs.world(), deck.data),
        store(runs.world(), dataset, "/dev/shm", nullptr) {}
  const Deck deck;
  data::Dataset dataset;
  data::SampleStore store;
};

}  // namespace lepton::train
