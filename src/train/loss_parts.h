// SPDX-License-Identifier: Apache-2.0
// LossPart: one of several losses (model.losses): which part of a sample's scores it is of, with which target
// it compares them, and what it counts in the sum that training makes small. That sum is divided by the
// number of samples alone, at the end of the step like that of one loss, so each part brings its own divisor
// along: positions of a sample. Made by job; used by units, which add each loss to sums of its own too, and
// by who reports them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/graph.h"
#include "ops/loss.h"
#include "train/deck.h"

namespace lepton::train {

struct LossPart {
  std::string name;
  ops::Loss loss;
  int64_t first = 0, count = 0;  ///< of a sample's scores
  int64_t positions = 1;
  double factor = 1;  ///< of a unit's sum in the sum of all
};

/// In the order of the deck and of the dataset's targets; none: the deck has one loss. Targets' outputs must
/// be known.
std::vector<LossPart> loss_parts(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph);

/// The deck's loss; where there are several, one of whole samples, of which they are the parts: what it says
/// of weights holds.
ops::Loss whole_loss(const Deck& deck, const data::Dataset& dataset, const model::Graph& graph);

/// A part of each sample's scores, side by side in `to`; and the way back, multiplied.
void take_part(std::span<const float> scores, int64_t samples, const LossPart& part, std::span<float> to);
void put_part(std::span<const float> from, int64_t samples, const LossPart& part, std::span<float> gradient);

}  // namespace lepton::train
