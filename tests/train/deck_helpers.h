// SPDX-License-Identifier: Apache-2.0
// Decks and expectations that the tests of train/deck* share: a smallest deck, parsing with overrides, and
// the check of an error's code, place and texts.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "errors.h"
#include "train/deck.h"

namespace lepton::train {

inline const char* const smallest_deck =
    "[data]\n"                                        // line 1
    "file = \"d.h5\"\n"                               // line 2
    "train = { inputs = \"x\", targets = \"y\" }\n"   // line 3
    "[model]\n"                                       // line 4
    "layers = [{ type = \"dense\", units = 10 }]\n";  // line 5

inline const char* const smallest_file_deck =
    "[data]\nfile = \"d.h5\"\ntrain = { inputs = \"x\", targets = \"y\" }\n[model]\nonnx = "
    "\"n.onnx\"\n";  // line 5

inline Deck parse(const std::string& text, const std::vector<Override>& overrides = {}) {
  return parse_deck("decks/deck.toml", text, overrides);
}

/// The smallest deck with these overrides.
inline Deck with(const std::vector<Override>& overrides) {
  return parse(smallest_deck, overrides);
}

/// Parsing must fail with Exit::deck at `where`, and all of `parts` must stand in the whole message.
inline void expect_error(const std::string& text, const std::vector<Override>& overrides,
                         const std::string& where, const std::vector<std::string>& parts) {
  const auto error = expect_error_of([&] { parse(text, overrides); }, Exit::deck, parts);
  EXPECT_EQ(error ? error->where() : where, where) << text;
}

/// The same for lines that follow the smallest deck: they start at line 6.
inline void expect_error_behind(const std::string& lines, const std::string& where,
                                const std::vector<std::string>& parts) {
  expect_error(std::string(smallest_deck) + lines, {}, where, parts);
}

inline void expect_override_error(const std::vector<Override>& overrides,
                                  const std::vector<std::string>& parts) {
  expect_error(smallest_deck, overrides, "--set " + overrides.back().key, parts);
}

}  // namespace lepton::train
