// SPDX-License-Identifier: Apache-2.0
// Keys of a deck against those that a checkpoint was trained with (see the header). Called by evaluate and
// predict.
#include "train/compare_deck.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/hash.h"

namespace lepton::train {

namespace {

using Keys = std::map<std::string, std::string>;

struct Change {
  std::string key, before, now;
};

/// Keys with different values, those that only one side has included; in the order of their names.
std::vector<Change> changes_of(const Keys& before, const Keys& now) {
  Keys all = before;
  all.insert(now.begin(), now.end());
  const auto value = [](const Keys& keys, const std::string& key) {
    const auto found = keys.find(key);
    return found == keys.end() ? "absent" : found->second;
  };
  std::vector<Change> changes;
  for (const auto& [key, _] : all) {
    Change change{key, value(before, key), value(now, key)};
    if (change.before != change.now) changes.push_back(std::move(change));
  }
  return changes;
}

bool of_split(const std::string& key) {
  return key.starts_with("data.train.") || key.starts_with("data.validation.") ||
         key.starts_with("data.test.");
}

bool by_fraction(const Keys& keys) {
  return std::any_of(keys.begin(), keys.end(),
                     [](const auto& item) { return item.first.ends_with(".fraction"); });
}

const std::string shape_key = "data.input_shape";

/// "[28, 28]"; of inputs that have names "title [12], body [100]".
std::string shapes_text(const std::vector<data::Input>& inputs) {
  if (inputs.size() == 1) return shape_text(inputs.front().shape);
  std::string text;
  for (const data::Input& input : inputs)
    text += (text.empty() ? "" : ", ") + input.name + " " + shape_text(input.shape);
  return text;
}

}  // namespace

checkpoint::Identity identity_of(const Deck& deck, const std::string& arithmetic_class,
                                 const data::Dataset& dataset) {
  checkpoint::Identity identity{arithmetic_class, deck.mathematical, hex64(dataset.fingerprint())};
  identity.mathematical.emplace(shape_key, shapes_text(dataset.inputs()));
  return identity;
}

void require_same_shape(const checkpoint::Identity& trained, const std::vector<data::Input>& inputs,
                        const std::string& rows, const std::string& where) {
  const auto shape = trained.mathematical.find(shape_key);
  REQUIRE(
      shape != trained.mathematical.end() && shape->second == shapes_text(inputs), Exit::deck, rows,
      fmt::format("rows of shape {}, but {} was trained on rows of shape {}", shapes_text(inputs), where,
                  shape == trained.mathematical.end() ? "unknown" : shape->second),
      "Give rows of the shape, and the deck (data.layout and data.length too), that it was trained with.");
}

void require_same_model(const checkpoint::Identity& trained, const Deck& deck, const std::string& where,
                        bool same_layout) {
  for (const Change& change : changes_of(trained.mathematical, deck.mathematical))
    REQUIRE(!change.key.starts_with("model.") && change.key != "data.normalize" &&
                change.key != "data.inputs" && change.key != "data.transforms" &&
                (!same_layout || change.key != "data.layout"),
            Exit::deck, change.key,
            fmt::format("{} was trained with {}, the deck says {}: that is another model", where,
                        change.before, change.now),
            "Use the deck that it was trained with (deck.toml in the run directory), or another checkpoint.");
}

std::string changed_splits(const checkpoint::Identity& trained, const Deck& deck,
                           const std::string& data_fingerprint, const std::string& where) {
  const bool drawn = by_fraction(trained.mathematical) || by_fraction(deck.mathematical);
  std::string list;
  const auto add = [&](const std::string& item) { list += (list.empty() ? "" : ", ") + item; };
  bool explained = false;  // why the fingerprint may be another one
  for (const Change& change : changes_of(trained.mathematical, deck.mathematical)) {
    explained |= of_split(change.key);
    const bool decides_rows = of_split(change.key) && !change.key.ends_with(".targets");
    if (decides_rows || (drawn && change.key == "run.seed"))
      add(fmt::format("{} (was {}, is now {})", change.key, change.before, change.now));
  }
  if (!explained && trained.data_fingerprint != data_fingerprint)
    add("data.file or data.files (the train split's array holds other data)");
  if (list.empty()) return "";
  return fmt::format(
      "Evaluated rows may have been trained on: since the training of {} the deck has changed in {}.", where,
      list);
}

}  // namespace lepton::train
