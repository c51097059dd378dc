// SPDX-License-Identifier: Apache-2.0
// The one table of all deck keys: path, type, range or choices, default, mathematical or operational, a
// sentence, and the setter that puts the value into the modules' specifications. Validation, defaults, the
// reference, the deck as resolved and the fingerprint of the mathematics are made from it; a new key is a
// row. Invariants: rows of one TOML table stand together, a table before its sub-tables; choices stand in the
// order of the enum they set. Called by deck.cpp.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "train/deck_value.h"

namespace lepton::train {

enum class KeyClass {
  mathematical,  ///< changes the result: kept in checkpoints, compared at a restart
  operational
};

struct DeckKey {
  std::string path;  ///< "train.batch_size"
  KeyType type = KeyType::text;
  KeyClass key_class = KeyClass::operational;
  std::string standard = "";  ///< default in TOML; "": absent unless given
  std::string sentence = "";  ///< for errors and for the reference
  std::function<void(Deck&, const DeckValue&)> set = {};
  Range range = {};
  std::vector<std::string> choices = {};
  bool required = false;

  std::string table() const { return path.substr(0, path.rfind('.')); }
  std::string name() const { return path.substr(path.rfind('.') + 1); }
};

const std::vector<DeckKey>& deck_keys();
const DeckKey* find_deck_key(const std::string& path);

// The rows of [data] (deck_keys_data.cpp), and of [model], [optimizer] and [schedule] (deck_keys_model.cpp).
std::vector<DeckKey> data_keys();
std::vector<DeckKey> model_keys();

/// value >= least.
inline Range at_least(double least) {
  return {.least = least};
}
inline Range above_zero() {
  return {.least = 0, .above = true};
}
/// least <= value < below.
inline Range from_to_below(double least, double below) {
  return {.least = least, .most = below, .below = true};
}

}  // namespace lepton::train
