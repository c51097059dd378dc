// SPDX-License-Identifier: Apache-2.0
// Parsing a deck: the tree of values (deck_tree) against the table of keys (deck_keys), the layers
// (deck_layers), the rules between keys (deck_rules), and the deck as resolved. See the header.
#include "train/deck.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "model/layers.h"
#include "train/deck_keys.h"
#include "train/deck_layers.h"
#include "train/deck_rules.h"

namespace lepton::train {

namespace {

/// All tables that the keys name, their parents included: "data", "data.train".
std::set<std::string> table_names() {
  std::set<std::string> tables;
  for (const DeckKey& key : deck_keys())
    for (std::string table = key.table();; table = table.substr(0, table.rfind('.'))) {
      tables.insert(table);
      if (table.find('.') == std::string::npos) break;
    }
  return tables;
}

/// Names that may stand in `table` ("" is the deck itself).
std::vector<std::string> names_in(const std::string& table, const std::set<std::string>& tables) {
  std::vector<std::string> names;
  const std::string prefix = table.empty() ? "" : table + ".";
  const auto take = [&](const std::string& path) {
    if (path.starts_with(prefix) && path.find('.', prefix.size()) == std::string::npos && path != table)
      names.push_back(path.substr(prefix.size()));
  };
  for (const DeckKey& key : deck_keys()) take(key.path);
  for (const std::string& path : tables) take(path);
  return names;
}

[[noreturn]] void unknown_key(const DeckNode& node, const std::string& path, const std::string& table,
                              const std::set<std::string>& tables) {
  const std::vector<std::string> names = names_in(table, tables);
  std::string hint = did_you_mean(node.key, names);
  for (const DeckKey& key : deck_keys())
    if (key.name() == node.key) hint = "Did you mean \"" + key.path + "\"?";
  if (!hint.empty()) hint += " ";
  fail(Exit::deck, node.key_position.text(), "unknown key " + path,
       hint + (table.empty() ? "A deck" : "[" + table + "]") + " takes " + choices_text(names) + ".");
}

/// Every name in the deck must be a key or a table of keys; tables must be tables.
void refuse_unknown(const DeckNode& node, const std::string& table, const std::set<std::string>& tables) {
  for (const DeckNode& child : node.children) {
    const std::string path = (table.empty() ? "" : table + ".") + child.key;
    if (find_deck_key(path) != nullptr && child.key.find('.') == std::string::npos) continue;
    if (!tables.contains(path)) unknown_key(child, path, table, tables);
    REQUIRE(child.kind == DeckNode::Kind::table, Exit::deck, child.position.text(),
            path + " = " + toml_text(child) + " is not a table",
            "Write it as [" + path + "] with keys below, or as " + path + " = { key = value }.");
    refuse_unknown(child, path, tables);
  }
}

/// A file of the deck is relative to the deck; one of an override, to the working directory.
std::string resolve_path(const std::string& deck_path, const SourcePosition& position,
                         const std::string& file) {
  const std::filesystem::path given(file);
  if (position.line == 0 || given.is_absolute()) return given.lexically_normal().string();
  return (std::filesystem::path(deck_path).parent_path() / given).lexically_normal().string();
}

void resolve_files(const std::string& deck_path, const DeckNode& node, DeckValue& value, bool list) {
  value.canonical.clear();
  for (std::string& file : value.texts) {
    file = resolve_path(deck_path, node.position, file);
    value.canonical +=
        (value.canonical.empty() ? "" : ", ") + toml_text(std::filesystem::absolute(file).string());
  }
  if (list) value.canonical = "[" + value.canonical + "]";
}

struct KeyValue {
  const DeckKey* key;
  DeckValue value;
};

/// The values of all keys but layers, defaults included, in the order of the table.
std::vector<KeyValue> read_values(const std::string& path, const DeckNode& root) {
  std::vector<KeyValue> values;
  for (const DeckKey& key : deck_keys()) {
    const DeckNode* node = root.at(key.path);
    if (node == nullptr && key.required) {
      const DeckNode* table = root.at(key.table());
      fail(Exit::deck, table == nullptr ? path : table->position.text(), key.path + " is missing",
           "It is " + expectation(key) + ": " + key.sentence + ".");
    }
    if (key.type == KeyType::layers || (node == nullptr && key.standard.empty())) continue;
    const DeckNode standard = node == nullptr ? parse_deck_value(key.standard, {}) : DeckNode{};
    DeckValue value = check_value(key, node == nullptr ? standard : *node);
    const bool list = key.type == KeyType::files;
    if (list || key.type == KeyType::file || key.type == KeyType::path)
      resolve_files(path, *node, value, list);
    values.push_back({&key, std::move(value)});
  }
  return values;
}

/// A unit size that nobody gave shrinks to the batch.
void fit_unit_size(const DeckNode& root, std::vector<KeyValue>& values) {
  if (root.at("train.unit_size") != nullptr) return;
  const auto find = [&](const char* path) {
    return std::find_if(values.begin(), values.end(), [&](const KeyValue& v) { return v.key->path == path; });
  };
  DeckValue& unit_size = find("train.unit_size")->value;
  unit_size.integer = std::min(unit_size.integer, find("train.batch_size")->value.integer);
  unit_size.canonical = std::to_string(unit_size.integer);
}

/// A split whose table is there but empty exists too, so that its missing keys are noticed.
void place_splits(Deck& deck, const DeckNode& root) {
  const auto place = [&](const char* path, std::optional<data::SplitSpec>& split) {
    const DeckNode* table = root.at(path);
    if (table == nullptr) return;
    if (!split) split.emplace();
    split->position = table->position;
  };
  place("data.train", deck.data.train);
  place("data.validation", deck.data.validation);
  place("data.test", deck.data.test);
}

/// A network comes as layers or as a file.
void require_one_network(const std::string& path, const DeckNode& root) {
  const DeckNode *table = root.at("model"), *layers = root.at("model.layers"), *file = root.at("model.onnx");
  REQUIRE(layers != nullptr || file != nullptr, Exit::deck, table == nullptr ? path : table->position.text(),
          "model.layers is missing",
          "It is a list of layers: the network, from the inputs to the scores. Or give model.onnx, a file.");
  REQUIRE(layers == nullptr || file == nullptr, Exit::deck, file->position.text(),
          "model.onnx and model.layers are two networks", "Leave one of them out.");
  for (const char* key : {"model.onnx_weights", "model.onnx_frozen"}) {
    const DeckNode* given = root.at(key);
    REQUIRE(given == nullptr || file != nullptr, Exit::deck, given->position.text(),
            std::string(key) + " says nothing without model.onnx", "Leave it out.");
  }
}

void read_model(Deck& deck, const DeckNode& root) {
  require_one_network(deck.path, root);
  deck.model.position = root.at("model")->position;
  if (root.at("model.layers") == nullptr) return;
  deck.model.layers = read_layers(*root.at("model.layers"), "model.layers");
  for (size_t i = 0; i < deck.model.layers.size(); ++i)
    deck.mathematical["model.layers[" + std::to_string(i) + "]"] = canonical_layer(deck.model.layers[i]);
}

/// Names of inputs are known before the data are; their shapes come with those.
void check_model(Deck& deck) {
  if (deck.data.train) {
    std::vector<model::NamedShape>& inputs = deck.model.inputs;
    for (const data::InputArrays& input : deck.data.train->inputs) inputs.push_back({input.name, {}});
    for (const data::InputArrays& input : deck.data.train->inputs)
      if (!input.lengths.empty() || !input.offsets.empty()) inputs.push_back({input.name + ".length", {}});
  }
  for (const NamedLoss& loss : deck.losses)
    deck.model.heads.push_back({.name = loss.name, .from = loss.from, .position = loss.position});
  if (!deck.model.layers.empty()) model::check_layers(deck.model);
}

/// The deck in TOML, made from the canonical values of all keys.
std::string resolved_text(const Deck& deck) {
  std::string text = "# A Lepton deck as resolved: every key with its value.\n", table;
  for (const DeckKey& key : deck_keys()) {
    std::string value;
    if (key.type == KeyType::layers && deck.model.layers.empty()) continue;
    if (key.type == KeyType::layers) {
      for (size_t i = 0; i < deck.model.layers.size(); ++i)
        value += "  " + canonical_layer(deck.model.layers[i]) + ",\n";
      value = "[\n" + value + "]";
    } else {
      const auto& map = key.key_class == KeyClass::mathematical ? deck.mathematical : deck.operational;
      const auto found = map.find(key.path);
      if (found == map.end()) continue;
      value = found->second;
    }
    if (key.table() != table) text += "\n[" + (table = key.table()) + "]\n";
    text += key.name() + " = " + value + "\n";
  }
  return text;
}

}  // namespace

Deck parse_deck(const std::string& path, const std::string& text, const std::vector<Override>& overrides) {
  DeckNode root = parse_deck_text(path, text);
  for (const Override& override : overrides) apply_override(root, override);
  refuse_unknown(root, "", table_names());
  std::vector<KeyValue> values = read_values(path, root);
  fit_unit_size(root, values);
  Deck deck;
  deck.path = path;
  std::map<std::string, std::string> canonical;
  for (const KeyValue& item : values) {
    canonical[item.key->path] = item.value.canonical;
    (item.key->key_class == KeyClass::mathematical ? deck.mathematical : deck.operational)[item.key->path] =
        item.value.canonical;
  }
  read_model(deck, root);
  const DeckFacts facts{root, canonical};
  for (const KeyValue& item : values)
    if (root.at(item.key->path) != nullptr)
      deck.positions[item.key->path] = root.at(item.key->path)->position;
  check_keys_fit(facts);
  place_splits(deck, root);
  // Back to front, so that a table's sub-tables are set before it: [data]'s files go to splits that name
  // none.
  for (auto item = values.rbegin(); item != values.rend(); ++item) item->key->set(deck, item->value);
  deck.data.position = facts.position("data");
  check_model(deck);
  derive(deck);
  check_rules(deck, facts);
  deck.resolved = resolved_text(deck);
  return deck;
}

std::string Deck::place(const std::string& key) const {
  const auto found = positions.find(key);
  return found == positions.end() ? path + ": " + key : found->second.text();
}

void resolve_schedule_steps(Deck& deck, int64_t steps_per_epoch, int64_t recorded_steps) {
  optim::ScheduleSpec& schedule = deck.optimizer.schedule;
  const bool has_length =
      schedule.kind == optim::ScheduleKind::cosine || schedule.kind == optim::ScheduleKind::polynomial;
  if (!has_length || schedule.steps > 0) return;
  schedule.steps = recorded_steps > 0 ? recorded_steps : deck.train.epochs * steps_per_epoch;
  REQUIRE(schedule.warmup_steps < schedule.steps, Exit::deck, deck.place("schedule.warmup_steps"),
          "schedule.warmup_steps = " + std::to_string(schedule.warmup_steps) + " leaves nothing of the " +
              std::to_string(schedule.steps) + " steps of train.epochs",
          "The warm-up is part of the schedule; set schedule.steps if it shall be longer than train.epochs.");
  deck.mathematical["schedule.steps"] = std::to_string(schedule.steps);
  deck.resolved = resolved_text(deck);
}

}  // namespace lepton::train
