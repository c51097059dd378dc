// SPDX-License-Identifier: Apache-2.0
// The rows of [data] and of its splits in the table of deck keys. Paths of files are operational: what they
// hold is identified by the dataset's fingerprint. See deck_keys.h.
#include <algorithm>
#include <optional>

#include "train/deck_keys.h"

namespace lepton::train {

namespace {

using enum KeyClass;

/// The split's specification, made when the first of its keys is set.
data::SplitSpec& split_of(Deck& deck, data::SplitKind kind) {
  std::optional<data::SplitSpec>& split = kind == data::SplitKind::train        ? deck.data.train
                                          : kind == data::SplitKind::validation ? deck.data.validation
                                                                                : deck.data.test;
  return split ? *split : split.emplace();
}

/// Paths of `inputs`, `lengths` or `offsets`, whichever comes first; the order of names is that of `inputs`.
void set_paths(data::SplitSpec& split, const DeckValue& value, std::string data::InputArrays::*path) {
  std::vector<data::InputArrays> inputs;
  for (const auto& [given, text] : value.paths) {
    const std::string name = given.empty() ? "input" : given;
    const auto known = std::ranges::find(split.inputs, name, &data::InputArrays::name);
    inputs.push_back(known == split.inputs.end() ? data::InputArrays{name, "", "", ""} : *known);
    inputs.back().*path = text;
    if (known != split.inputs.end()) split.inputs.erase(known);
  }
  const bool in_order = path == &data::InputArrays::values;
  split.inputs.insert(in_order ? split.inputs.begin() : split.inputs.end(), inputs.begin(), inputs.end());
}

DeckKey extents_key(const std::string& path, data::SplitKind kind, const std::string& sentence,
                    std::string data::InputArrays::*extents) {
  return {
      path, KeyType::paths, mathematical, "", sentence, [kind, extents](Deck& deck, const DeckValue& value) {
        set_paths(split_of(deck, kind), value, extents);
      }};
}

std::vector<DeckKey> split_keys(const std::string& table, data::SplitKind kind) {
  const bool train = kind == data::SplitKind::train;
  const std::string standard = train ? "" : "; those of the train split where a part of the rows is given";
  DeckKey inputs = {
      table + ".inputs",
      KeyType::paths,
      mathematical,
      "",
      "path of the inputs in the file, or of each of several by name, of which the first is the network's "
      "first" +
          standard,
      [kind](Deck& deck, const DeckValue& value) {
        set_paths(split_of(deck, kind), value, &data::InputArrays::values);
      }};
  DeckKey targets = {
      table + ".targets",
      KeyType::paths,
      mathematical,
      "",
      "path of the targets in the file, or of each of several by the names that model.losses uses; with "
      "data.sequence, without them: the element behind each input" +
          standard,
      [kind](Deck& deck, const DeckValue& value) {
        data::SplitSpec& split = split_of(deck, kind);
        if (value.paths.size() == 1 && value.paths.front().first.empty())
          split.targets = value.text;
        else
          split.named_targets = value.paths;
      }};
  inputs.required = train;
  const auto set_files = [kind](Deck& deck, const DeckValue& value) {
    split_of(deck, kind).files = value.texts;
  };
  return {
      std::move(inputs),
      std::move(targets),
      extents_key(
          table + ".lengths", kind,
          "path of the lengths [N] of rows that are filled up, [N,T] or [N,T,F]; by name like inputs" +
              standard,
          &data::InputArrays::lengths),
      extents_key(
          table + ".offsets", kind,
          "path of the offsets [N+1] of rows that stand one behind the other, [M] or [M,F]; by name like "
          "inputs" +
              standard,
          &data::InputArrays::offsets),
      {table + ".file", KeyType::file, operational, "",
       "file of this split, relative to the deck; default: [data]'s", set_files},
      {table + ".files", KeyType::files, operational, "",
       "files of this split, concatenated; default: [data]'s", set_files},
      {table + ".rows", KeyType::rows, mathematical, "",
       "the rows that make up the split, from 0, end excluded",
       [kind](Deck& deck, const DeckValue& value) { split_of(deck, kind).rows = value.rows; }},
      {table + ".fraction",
       KeyType::number,
       mathematical,
       "",
       "share of the rows, drawn by seed; splits of the same arrays take disjoint ones",
       [kind](Deck& deck, const DeckValue& value) { split_of(deck, kind).fraction = value.number; },
       {.least = 0, .most = 1, .above = true}},
  };
}

/// Rows of a split that its files tell.
std::vector<DeckKey> list_keys(const std::string& table, data::SplitKind kind) {
  return {
      {table + ".indices", KeyType::text, mathematical, "",
       "path of a list of row numbers in the file, from 0, each once, in any order: the rows of the "
       "split; of several files each lists its own",
       [kind](Deck& deck, const DeckValue& value) { split_of(deck, kind).indices = value.text; }},
      {table + ".mask", KeyType::text, mathematical, "",
       "path of an array in the file with 1 or true for each row of the split, 0 or false for the others",
       [kind](Deck& deck, const DeckValue& value) { split_of(deck, kind).mask = value.text; }},
  };
}

std::vector<DeckKey> content_keys() {
  return {
      {"data.layout",
       KeyType::choice,
       mathematical,
       "\"auto\"",
       "of images; auto: [N,a,b] is hw, [N,a,b,c] chw if a <= 4, else hwc if c <= 4; none: not images; of "
       "volumes cdhw, dhwc, dhw; sequence: [N,T] or [N,T,F], steps of features",
       [](Deck& deck, const DeckValue& value) {
         deck.data.layout = static_cast<data::ImageLayout>(value.choice);
       },
       {},
       {"auto", "hwc", "chw", "hw", "none", "cdhw", "dhwc", "dhw", "sequence"}},
      {"data.target_kind",
       KeyType::choice,
       mathematical,
       "\"auto\"",
       "what targets are; auto: what the loss asks for and the array holds",
       [](Deck& deck, const DeckValue& value) {
         deck.data.target_kind = static_cast<data::TargetKind>(value.choice);
       },
       {},
       {"auto", "classes", "one_hot", "values"}},
      {"data.classes",
       KeyType::integer,
       mathematical,
       "0",
       "number of classes; 0: the largest label of the train split + 1",
       [](Deck& deck, const DeckValue& value) { deck.data.classes = value.integer; },
       {.least = 0, .most = 1e6}},
      {"data.ignored_class",
       KeyType::integer,
       mathematical,
       "",
       "class id that marks what counts neither in the loss, nor in its mean, nor in metrics, padding say; "
       "may be negative, as in -100",
       [](Deck& deck, const DeckValue& value) { deck.data.ignored_class = value.integer; },
       {.least = -2147483648.0, .most = 2147483646}},
  };
}

std::vector<DeckKey> reading_keys() {
  return {
      {"data.adjacency", KeyType::text, mathematical, "",
       "path of the graph whose nodes a sample holds, for graph_conv: a group of indptr, indices and values "
       "(CSR) in the train split's first file",
       [](Deck& deck, const DeckValue& value) { deck.adjacency = value.text; }},
      {"data.sequence",
       KeyType::integer,
       mathematical,
       "0",
       "samples are windows of so many elements of arrays of rank 1, tokens of a text say; 0: samples are "
       "rows",
       [](Deck& deck, const DeckValue& value) { deck.data.sequence = value.integer; },
       {.least = 0, .most = 1e9}},
      {"data.sequence_stride",
       KeyType::integer,
       mathematical,
       "0",
       "elements from the begin of a window to that of the next; 0: data.sequence, as in validation and test "
       "splits of arrays of their own",
       [](Deck& deck, const DeckValue& value) { deck.data.sequence_stride = value.integer; },
       {.least = 0, .most = 1e9}},
  };
}

std::vector<DeckKey> value_keys() {
  return {
      {"data.normalize",
       KeyType::choice,
       mathematical,
       "\"none\"",
       "of inputs: none, to 0 .. 1 by range, or to mean 0 and deviation 1, by the train split's statistics",
       [](Deck& deck, const DeckValue& value) {
         deck.data.normalisation = static_cast<data::Normalisation>(value.choice);
       },
       {},
       {"none", "unit", "standardize"}},
      {"data.length",
       KeyType::integer,
       mathematical,
       "",
       "steps of rows with lengths of their own: longer ones are cut, shorter ones filled up with 0; without "
       "it "
       "those of the longest row of the train split",
       [](Deck& deck, const DeckValue& value) { deck.data.length = value.integer; },
       {.least = 1, .most = 1e9}},
      {"data.transforms", KeyType::transforms, mathematical, "",
       "what is done to inputs in this order: log1p, clip, scale, one_hot; then data.normalize; then in "
       "training random_crop, random_flip (of a random_crop with a size the middle else)",
       [](Deck& deck, const DeckValue& value) { deck.data.transforms = value.transforms; }},
      {"data.inputs", KeyType::inputs, mathematical, "",
       "what holds for inputs by name, as [data.inputs.NAME] with layout, normalize, length or transforms; "
       "the rest is as [data] "
       "says",
       [](Deck& deck, const DeckValue& value) { deck.data.inputs = value.inputs; }},
      {"data.bad_rows",
       KeyType::choice,
       mathematical,
       "\"error\"",
       "what a row with Inf or NaN as float32 does: end the run, or be left out",
       [](Deck& deck, const DeckValue& value) {
         deck.data.bad_rows = static_cast<data::BadRows>(value.choice);
       },
       {},
       {"error", "skip"}},
  };
}

std::vector<DeckKey> order_keys() {
  return {
      {"data.shuffle",
       KeyType::choice,
       mathematical,
       "\"global\"",
       "order of an epoch: over all samples, inside windows of blocks, or as stored",
       [](Deck& deck, const DeckValue& value) {
         deck.data.shuffle = static_cast<data::Shuffle>(value.choice);
       },
       {},
       {"global", "window", "none"}},
      {"data.shuffle_window",
       KeyType::integer,
       mathematical,
       "65536",
       "samples that are mixed with each other",
       [](Deck& deck, const DeckValue& value) { deck.data.shuffle_window = value.integer; },
       {.least = 1, .most = 1e15}},
      {"data.shuffle_block",
       KeyType::integer,
       mathematical,
       "256",
       "neighbouring samples that are read together",
       [](Deck& deck, const DeckValue& value) { deck.data.shuffle_block = value.integer; },
       {.least = 1, .most = 1e15}},
  };
}

/// Files of [data], for the splits that name none of their own: those have been set before (see deck.cpp).
std::vector<DeckKey> file_keys() {
  const auto set_files = [](Deck& deck, const DeckValue& value) {
    for (std::optional<data::SplitSpec>* split : {&deck.data.train, &deck.data.validation, &deck.data.test})
      if (*split && (*split)->files.empty()) (*split)->files = value.texts;
  };
  return {
      {"data.file", KeyType::file, operational, "", "file of all splits, or a glob, relative to the deck",
       set_files},
      {"data.files", KeyType::files, operational, "",
       "files of all splits, concatenated; a glob stands for its files in the order of their bytes",
       set_files},
  };
}

}  // namespace

std::vector<DeckKey> data_keys() {
  std::vector<DeckKey> keys;
  for (const std::vector<DeckKey>& rows :
       {file_keys(), content_keys(), reading_keys(), value_keys(), order_keys(),
        split_keys("data.train", data::SplitKind::train), list_keys("data.train", data::SplitKind::train),
        split_keys("data.validation", data::SplitKind::validation),
        list_keys("data.validation", data::SplitKind::validation),
        split_keys("data.test", data::SplitKind::test), list_keys("data.test", data::SplitKind::test)})
    keys.insert(keys.end(), rows.begin(), rows.end());
  return keys;
}

}  // namespace lepton::train
