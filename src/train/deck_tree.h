// SPDX-License-Identifier: Apache-2.0
// DeckNode: a deck as a plain tree of values with source positions, before anything in it is understood.
// deck_tree.cpp alone includes toml++; the rest of train reads this tree. Overrides (--set) are put into the
// tree. Invariants: the children of a table stand in the order of the file, so that the first error reported
// is the first in the file; a position with line 0 is that of an override. Called by deck.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "train/deck.h"

namespace lepton::train {

struct DeckNode {
  enum class Kind { boolean, integer, number, text, list, table };
  Kind kind = Kind::table;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<DeckNode> children;  ///< of a list or table
  std::string key;                 ///< in a table
  SourcePosition key_position;
  SourcePosition position;  ///< of the value
  std::string as_given;     ///< the text of an override, which a key that wants text takes as it is

  /// The value of `name` in a table, or null.
  const DeckNode* find(const std::string& name) const;
  /// The value at a dotted path, or null where a part is absent or no table.
  const DeckNode* at(const std::string& path) const;
};

/// **Local.** Throws Error(deck) with file:line:column for bad TOML, and for dates, which no key takes.
DeckNode parse_deck_text(const std::string& path, const std::string& text);

/// One value in TOML syntax; a bare word (anything that is not TOML) is text.
DeckNode parse_deck_value(const std::string& text, const SourcePosition& position);

/// Puts `value` at the dotted path `key`, making tables on the way. Throws Error(deck) where the path is
/// malformed or leads through a value that is no table.
void apply_override(DeckNode& root, const Override& override);

/// The value as one line of TOML.
std::string toml_text(const DeckNode& node);
std::string toml_text(
    double number);  ///< shortest that reads back as the same double; whole ones without point
std::string toml_text(const std::string& text);  ///< quoted
std::string toml_key(const std::string& name);   ///< quoted where it must be

}  // namespace lepton::train
