// SPDX-License-Identifier: Apache-2.0
// Setup: from a deck to the graph for its dataset and to the sizes of units. Each step is agreed: one bad
// file or layer gives one message and one exit code on all ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/world.h"
#include "data/dataset.h"
#include "model/graph.h"
#include "train/commands.h"
#include "train/deck.h"

namespace lepton::train {

/// **Collective.** Rank 0 reads the deck, all parse it. `deck` may name a file only.
Deck load_deck(const comm::World& world, const Options& options);

/// **Collective.** The graph for this dataset, from its metadata: before rows are read, so that a network
/// that does not fit costs no reading. Error(deck) then also where the number of outputs is known from
/// metadata.
model::Graph graph_for(const comm::World& world, const Deck& deck, const data::Dataset& dataset);

/// **Collective.** Error(deck) when the last layer does not have as many outputs as there are classes or
/// target values: for after the rows have been read, when labels have told how many classes there are.
void require_outputs(const comm::World& world, const Deck& deck, const data::Dataset& dataset,
                     const model::Graph& graph);

/// Below 2^this stays every quantised value, so that what a batch's units add to one element fits its sum.
int gradient_bits(const Deck& deck, const model::Graph& graph);

/// **Collective.** Error(deck) when the loss or a metric that is asked for does not go with what the network
/// gives and the targets are: weights for other classes, areas of single values, figures of two classes.
void require_loss_fits(const comm::World& world, const Deck& deck, const data::Dataset& dataset,
                       const model::Graph& graph);

/// Sizes of units that will occur, without repetition.
struct UnitSizes {
  std::vector<int64_t> training, inference;
  int64_t max_samples = 0;  ///< of any round
  int64_t max_units = 0;
  int64_t evaluation_round = 0;  ///< samples per round of evaluation
};
UnitSizes unit_sizes(const Deck& deck, const data::Dataset& dataset);

}  // namespace lepton::train
