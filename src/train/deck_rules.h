// SPDX-License-Identifier: Apache-2.0
// What keys mean for each other: values derived from other tables, and every contradiction refused with the
// place of the key that is at fault. Runs after each key has been found possible in itself (deck_value).
// Called by deck.cpp.
#pragma once

#include <map>
#include <string>

#include "train/deck_tree.h"

namespace lepton::train {

/// The deck as written, for positions, and the canonical values of all keys, defaults included.
struct DeckFacts {
  const DeckNode& root;
  const std::map<std::string, std::string>& values;
  /// Whether the deck gives this key another value than its default.
  bool given(const std::string& path) const;
  /// The place of the key's value, else of its table, else of the deck.
  SourcePosition position(const std::string& path) const;
};

/// Refuses keys that say nothing beside others (momentum with adam), before anything is derived.
void check_keys_fit(const DeckFacts& facts);

/// Fills what other tables decide: inputs and targets of splits that take a part of the train split, kind of
/// targets, metric, outputs. (Files of splits are filled by the rows of [data] in deck_keys_data.)
void derive(Deck& deck);

/// Throws Error(deck) at the first contradiction; adds to deck.warnings what is only suspicious.
void check_rules(Deck& deck, const DeckFacts& facts);

/// The part of check_rules that is about splits: files, arrays, shared rows.
void check_splits(Deck& deck, const DeckFacts& facts);

}  // namespace lepton::train
