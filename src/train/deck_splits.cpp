// SPDX-License-Identifier: Apache-2.0
// Rules of [data]'s splits: files, arrays, and which rows they may share; see deck_rules.h.
#include <algorithm>
#include <optional>
#include <vector>

#include "train/deck_rules.h"
#include "train/deck_value.h"

namespace lepton::train {

namespace {

struct NamedSplit {
  std::string path;  ///< "data.test"
  const data::SplitSpec* split;
};

[[noreturn]] void split_error(const DeckFacts& facts, const std::string& path, const std::string& what,
                              const std::string& hint) {
  fail(Exit::deck, facts.position(path).text(), what, hint);
}

void check_file_keys(const DeckFacts& facts, const std::string& table) {
  if (facts.root.at(table + ".file") != nullptr && facts.root.at(table + ".files") != nullptr)
    split_error(facts, table + ".files", table + " has both file and files", "Give one of them.");
}

/// A split says in one way at most which rows are its.
void check_parts(const DeckFacts& facts, const NamedSplit& named) {
  const data::SplitSpec& split = *named.split;
  std::vector<std::string> ways;
  if (split.rows) ways.push_back("rows");
  if (split.fraction) ways.push_back("fraction");
  if (!split.indices.empty()) ways.push_back("indices");
  if (!split.mask.empty()) ways.push_back("mask");
  if (ways.size() > 1)
    split_error(facts, named.path + "." + ways[1], named.path + " has both " + ways[0] + " and " + ways[1],
                "Give one of them.");
}

void check_split(const DeckFacts& facts, const NamedSplit& named) {
  const data::SplitSpec& split = *named.split;
  check_file_keys(facts, named.path);
  if (split.files.empty())
    split_error(facts, named.path, named.path + " has no file",
                "Set data.file = \"name.h5\", or " + named.path + ".file.");
  for (const data::InputArrays& input : split.inputs)
    if (input.values.empty())
      split_error(
          facts, named.path,
          named.path + " has lengths or offsets of \"" + input.name + "\", which its inputs do not name",
          "Name the input, or take a part of the train split's rows by fraction, rows, indices or mask.");
  const bool targets = !split.targets.empty() || !split.named_targets.empty() || split.next;
  const char* missing = split.inputs.empty() ? "inputs" : targets ? nullptr : "targets";
  if (missing != nullptr)
    split_error(facts, named.path, named.path + "." + missing + " is missing",
                "Name the array in the file, or take a part of the train split's rows by fraction, rows, "
                "indices or mask.");
  check_parts(facts, named);
}

std::vector<std::string> names_of(const data::SplitSpec& split) {
  std::vector<std::string> names;
  for (const data::InputArrays& input : split.inputs) names.push_back(input.name);
  return names;
}

/// Rows with lengths of their own are so in all splits; lengths and offsets speak of inputs.
void check_extents(const DeckFacts& facts, const std::vector<NamedSplit>& splits, const Deck& deck) {
  bool any = false;
  for (const NamedSplit& named : splits)
    for (size_t i = 0; i < named.split->inputs.size(); ++i) {
      const data::InputArrays &input = named.split->inputs[i], &first = splits.front().split->inputs[i];
      const bool ragged = !input.lengths.empty() || !input.offsets.empty();
      any |= ragged;
      if (!input.lengths.empty() && !input.offsets.empty())
        split_error(facts, named.path + ".offsets",
                    named.path + " has both lengths and offsets of the input \"" + input.name + "\"",
                    "Rows that are filled up have lengths, rows one behind the other have offsets.");
      if (ragged != (!first.lengths.empty() || !first.offsets.empty()))
        split_error(facts, named.path,
                    "rows of the input \"" + input.name +
                        "\" have lengths of their own in one split, but not in " +
                        (ragged ? splits.front().path : named.path),
                    "Give lengths or offsets for both.");
      if (ragged && deck.data.sequence > 0)
        split_error(facts, named.path, "data.sequence cuts windows from one text, not from rows with lengths",
                    "Leave data.sequence out, or lengths and offsets.");
    }
  if (deck.data.length > 0 && !any)
    split_error(facts, "data.length", "data.length says nothing where rows have no lengths of their own",
                "Give lengths or offsets in data.train, or leave it out.");
}

/// All splits have the train split's inputs, and [data.inputs] speaks of these.
void check_input_names(const DeckFacts& facts, const std::vector<NamedSplit>& splits, const Deck& deck) {
  const std::vector<std::string> names = names_of(*splits.front().split);
  for (const NamedSplit& named : splits)
    if (names_of(*named.split) != names)
      split_error(facts, named.path + ".inputs",
                  named.path + ".inputs names other inputs than " + splits.front().path + ".inputs",
                  "It must name " + choices_text(names) + " too, and no others.");
  for (const data::InputSpec& input : deck.data.inputs) {
    if (std::ranges::count(names, input.name) == 1) continue;
    std::string hint = did_you_mean(input.name, names);
    if (!hint.empty()) hint += " ";
    split_error(facts, "data.inputs." + input.name,
                "[data.inputs." + input.name + "] speaks of an input that " + splits.front().path +
                    ".inputs does not name",
                hint + "The inputs are " + choices_text(names) + ".");
  }
}

bool same_arrays(const data::SplitSpec& a, const data::SplitSpec& b) {
  return a.inputs == b.inputs && a.files == b.files;
}

void check_pair(const DeckFacts& facts, const NamedSplit& a, const NamedSplit& b, Deck& deck) {
  if (!same_arrays(*a.split, *b.split)) return;
  const data::SplitSpec &first = *a.split, &second = *b.split;
  if (first.fraction.has_value() != second.fraction.has_value()) {
    const std::string& other = first.fraction ? b.path : a.path;
    split_error(facts, other,
                a.path + " and " + b.path + " take rows of the same arrays, but only one by fraction",
                "Give " + other + ".fraction too.");
  }
  if (first.rows && second.rows &&
      std::max(first.rows->first, second.rows->first) < std::min(first.rows->second, second.rows->second))
    split_error(facts, b.path + ".rows", a.path + " and " + b.path + " share rows of the same arrays",
                "Rows [from, to) leave out `to`: [0, 800] and [800, 1000] are disjoint.");
  if (first.fraction || (first.rows && second.rows)) return;
  if (first.listed() || second.listed()) return;  // compared when the files have told their rows
  // The same samples with targets of their own, each for other positions: nodes of a graph.
  if (deck.data.ignored_class && first.targets != second.targets) return;
  deck.warnings.push_back(facts.position(b.path).text() + ": " + a.path + " and " + b.path +
                          " share rows: the figures of one are no measure of unseen data.");
}

void check_fractions(const DeckFacts& facts, const std::vector<NamedSplit>& splits) {
  for (const NamedSplit& first : splits) {
    double sum = 0;
    std::string last;
    for (const NamedSplit& other : splits)
      if (other.split->fraction && same_arrays(*first.split, *other.split)) {
        sum += *other.split->fraction;
        last = other.path;
      }
    if (sum > 1 + 1e-9)
      split_error(facts, last + ".fraction", "the fractions of the same arrays add up to " + toml_text(sum),
                  "They must not exceed 1.");
  }
}

}  // namespace

void check_splits(Deck& deck, const DeckFacts& facts) {
  check_file_keys(facts, "data");
  std::vector<NamedSplit> splits;
  const auto collect = [&](const char* path, const std::optional<data::SplitSpec>& split) {
    if (split) splits.push_back({path, &*split});
  };
  collect("data.train", deck.data.train);
  collect("data.validation", deck.data.validation);
  collect("data.test", deck.data.test);
  for (const NamedSplit& split : splits) check_split(facts, split);
  check_input_names(facts, splits, deck);
  check_extents(facts, splits, deck);
  for (size_t a = 0; a < splits.size(); ++a)
    for (size_t b = a + 1; b < splits.size(); ++b) check_pair(facts, splits[a], splits[b], deck);
  check_fractions(facts, splits);
}

}  // namespace lepton::train
