// SPDX-License-Identifier: Apache-2.0
// Several losses, model.losses: reading their list, whose options are keys of [model] and [data] and mean
// what they mean there, and the rules between them and the rest of the deck. Called by deck_value, deck and
// deck_rules.
#pragma once

#include "train/deck_keys.h"
#include "train/deck_rules.h"

namespace lepton::train {

/// A list of tables. Throws Error(deck) for what is no option of a loss, with the nearest one.
DeckValue check_losses(const DeckKey& key, const DeckNode& node);

/// What a loss asks of its targets.
data::TargetRange target_range_of(ops::LossKind loss);

/// What the losses ask of outputs and targets, into the specifications of model and data.
void derive_losses(Deck& deck);

/// Targets and losses name each other; what one loss has in keys of its own does not stand beside several.
/// Throws Error(deck).
void check_losses_fit(const Deck& deck, const DeckFacts& facts);

}  // namespace lepton::train
