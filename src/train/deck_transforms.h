// SPDX-License-Identifier: Apache-2.0
// The value of data.transforms, a list like that of layers: one table names every type with its options.
// Called by deck_value.
#pragma once

#include "train/deck_keys.h"

namespace lepton::train {

/// Throws Error(deck) for unknown types and options, with the nearest ones, for impossible values, and where
/// a transform of values stands behind a random one: normalisation is between the two kinds.
DeckValue check_transforms(const DeckKey& key, const DeckNode& node);

/// One row per type for help and reference, with its options.
std::string transform_reference();

}  // namespace lepton::train
