// SPDX-License-Identifier: Apache-2.0
// What has been trained, for commands that use it: parameters, and the statistics that normalise inputs.
// Called by predict and generate.
#pragma once

#include <string>
#include <vector>

#include "comm/world.h"
#include "data/dataset.h"
#include "data/statistics.h"
#include "model/graph.h"
#include "train/commands.h"
#include "train/deck.h"

namespace lepton::train {

struct TrainedModel {
  std::string path;
  std::vector<float> parameters;
  data::Statistics statistics;
};

/// Where the model lies: --checkpoint, or else the deck's run.
std::string model_path(const Deck& deck, const Options& options);

/// **Collective.** From a checkpoint; or from a model file, which holds no statistics: those are computed
/// from the train split of `training` again. `dataset`, which came from `source` (for messages), is what the
/// model is used on. Throws Error(deck) where the two do not fit, Error(no_input, data).
TrainedModel load_model(const comm::World& world, const Deck& deck, const data::DataSpec& training,
                        const model::Graph& graph, const data::Dataset& dataset, const std::string& path,
                        const std::string& source);

}  // namespace lepton::train
