// SPDX-License-Identifier: Apache-2.0
// DeckValue: one value of the deck, checked against what its key takes: type, range, choice, and the small
// languages of durations ("60s") and intervals ("500 steps"). Invariant: whatever passes check_value is
// possible in itself; what contradicts other keys is found by deck_rules. Called by deck.cpp and
// deck_keys.cpp.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "data/spec.h"
#include "train/deck_tree.h"

namespace lepton::train {

enum class KeyType {
  text,
  choice,
  boolean,
  integer,
  number,
  file,                  ///< a path or glob, relative to the deck
  files,                 ///< a list of them
  path,                  ///< of one file, relative to the deck
  renames,               ///< a list of "old -> new"
  paths,                 ///< text, or texts by name: { title = "a", body = "b" }
  transforms,            ///< a list of tables with a type
  inputs,                ///< tables of options by the names of inputs
  losses,                ///< a list of tables with a type, each a loss
  rows,                  ///< [from, to)
  duration,              ///< "60s"
  interval,              ///< "500 steps", "2 epochs", "end"
  interval_or_duration,  ///< also "60s"
  shares,                ///< a list of "8 cuda"
  numbers,               ///< a list of them
  names,                 ///< a list of choices, or of any names, each at most once
  sizes,                 ///< an integer for all sides, or a list of them, one for each
  layers
};

/// What a number may be; `above` and `below` exclude the ends.
struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool above = false, below = false;
  bool holds(double value) const;
  std::string text() const;  ///< "from 0 to below 1"
};

/// At most one of the three is above 0; none: only at the end.
struct Interval {
  double seconds = 0;
  int64_t steps = 0, epochs = 0;
};

struct DeckValue {
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;  ///< also seconds of a duration
  std::string text;
  std::vector<std::string> texts;
  std::vector<double> numbers;
  std::vector<std::pair<std::string, std::string>> paths;  ///< by name; one without a name: ""
  std::vector<data::InputSpec> inputs;
  std::vector<NamedLoss> losses;
  std::vector<data::Transform> transforms;
  std::pair<int64_t, int64_t> rows;
  std::vector<std::pair<int64_t, std::string>> shares;
  std::vector<std::pair<std::string, std::string>> renames;
  int choice = 0;  ///< index into the key's choices
  Interval interval;
  std::string canonical;  ///< TOML, the same for values that mean the same
};

struct DeckKey;

/// Throws Error(deck) at the value's position: KEY = VALUE is not ...
DeckValue check_value(const DeckKey& key, const DeckNode& node);

/// Throws the Error(deck) that says so.
[[noreturn]] void wrong_value(const DeckKey& key, const DeckNode& node, const std::string& hint = "");

/// What a key takes, for errors and for the reference: "an integer from 1 up".
std::string expectation(const DeckKey& key);

/// `"a", "b" or "c"`.
std::string choices_text(const std::vector<std::string>& choices);

/// `Did you mean "x"? ` or "".
std::string did_you_mean(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace lepton::train
