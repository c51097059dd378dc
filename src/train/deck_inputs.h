// SPDX-License-Identifier: Apache-2.0
// Values of the keys that know inputs by name: where a split has each of them, and what holds for one of them
// ([data.inputs.NAME]), whose options are keys of [data] and mean what they mean there. Called by deck_value.
#pragma once

#include "train/deck_keys.h"

namespace lepton::train {

/// One text, or a table of texts. Throws Error(deck).
DeckValue check_paths(const DeckKey& key, const DeckNode& node);

/// A table of tables. Throws Error(deck) for what is no option of an input, with the nearest one.
DeckValue check_inputs(const DeckKey& key, const DeckNode& node);

}  // namespace lepton::train
