// SPDX-License-Identifier: Apache-2.0
// From a deck's lists of tables to model::LayerSpec: types, options with positions, and nested lists (the
// layers and projection of a residual). What types and options mean is the model's business
// (model::check_layers, which deck.cpp asks next); here only the form is checked. Called by deck.cpp.
#pragma once

#include <string>
#include <vector>

#include "model/spec.h"
#include "train/deck_tree.h"

namespace lepton::train {

/// The layers of the list `path`. Throws Error(deck) at the place of whatever is no layer.
std::vector<model::LayerSpec> read_layers(const DeckNode& list, const std::string& path);

/// A layer as one line of TOML: type first, then options and nested lists by name. Equal for equal layers.
std::string canonical_layer(const model::LayerSpec& layer);

}  // namespace lepton::train
