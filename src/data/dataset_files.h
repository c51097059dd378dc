// SPDX-License-Identifier: Apache-2.0
// From the deck's file patterns and array paths to a checked Source: globs, concatenation, equal shapes,
// types and lengths. Rank 0 alone does this; pack_sources carries the result to the others. Called by
// dataset.cpp.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"

namespace lepton::data {

/// Files in deck order, each glob's matches sorted bytewise. Throws Error(no_input) when a pattern matches
/// nothing, Error(deck) when a file comes twice.
std::vector<std::string> expand_files(const std::vector<std::string>& patterns,
                                      const SourcePosition& position);

/// Paths of a source's columns, and the windows that are their rows, if any.
struct Columns {
  std::vector<InputArrays> inputs;
  std::vector<std::string> targets;
  storage::RowWindows input_windows = {}, target_windows = {};
  bool operator==(const Columns&) const = default;
};
/// Those of a split. Targets that are the next elements are the inputs' array again.
Columns columns_of(const DataSpec& spec, const SplitSpec& split);

/// Opens every file. Throws Error(no_input, data).
Source open_source(const std::vector<std::string>& files, const Columns& columns);

/// What the first rank found, for the others. `source_of_split`: -1 where the deck has no such split;
/// `rows_of_split`: of no source where the files do not list them.
struct FoundSources {
  std::vector<Source> sources;
  std::vector<int> source_of_split;
  std::vector<RowSet> rows_of_split;
};
/// Steps in memory of rows with lengths of their own: what the deck says, else those of the train split's
/// longest (or the first source's).
void settle_lengths(const DataSpec& spec, FoundSources& found);
FoundSources find_sources(const DataSpec& spec);
std::string pack_sources(const FoundSources& found);
FoundSources unpack_sources(const std::string& bytes);

}  // namespace lepton::data
