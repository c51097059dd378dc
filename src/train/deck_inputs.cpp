// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/deck_inputs.h"

#include <algorithm>

namespace lepton::train {

namespace {

/// Names become parts of others (NAME.length) and of --inputs, so they are words.
void check_name(const DeckKey& key, const DeckNode& node) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  REQUIRE(!node.key.empty() && std::ranges::all_of(node.key, letter), Exit::deck, node.key_position.text(),
          toml_text(node.key) + " in " + key.path + " is no name for an input",
          "Names are letters, digits, _ and -.");
}

/// An option of one input: the key of [data] that it stands for, and where it goes.
struct InputOption {
  const char* name;
  void (*set)(data::InputSpec&, const DeckValue&);
};
const std::vector<InputOption>& options() {
  static const std::vector<InputOption> table = {
      {"layout", [](data::InputSpec& input,
                    const DeckValue& value) { input.layout = static_cast<data::ImageLayout>(value.choice); }},
      {"normalize",
       [](data::InputSpec& input, const DeckValue& value) {
         input.normalisation = static_cast<data::Normalisation>(value.choice);
       }},
      {"length", [](data::InputSpec& input, const DeckValue& value) { input.length = value.integer; }},
      {"transforms",
       [](data::InputSpec& input, const DeckValue& value) { input.transforms = value.transforms; }},
  };
  return table;
}

[[noreturn]] void unknown_option(const std::string& path, const DeckNode& node) {
  std::vector<std::string> names;
  for (const InputOption& option : options()) names.push_back(option.name);
  std::string hint = did_you_mean(node.key, names);
  if (!hint.empty()) hint += " ";
  fail(Exit::deck, node.key_position.text(), "unknown key " + path + "." + node.key,
       hint + "An input takes " + choices_text(names) + ".");
}

/// "NAME = { ... }", its options in the order of the table.
std::string read_input(const DeckKey& key, const DeckNode& node, data::InputSpec& input) {
  if (node.kind != DeckNode::Kind::table) wrong_value(key, node);
  check_name(key, node);
  input.name = node.key;
  const std::string path = key.path + "." + node.key;
  for (const DeckNode& child : node.children)
    if (std::ranges::none_of(options(), [&](const InputOption& option) { return child.key == option.name; }))
      unknown_option(path, child);
  std::string canonical;
  for (const InputOption& option : options()) {
    const DeckNode* child = node.find(option.name);
    if (child == nullptr) continue;
    DeckKey own = *find_deck_key(std::string("data.") + option.name);
    own.path = path + "." + option.name;
    const DeckValue value = check_value(own, *child);
    option.set(input, value);
    canonical += (canonical.empty() ? "" : ", ") + std::string(option.name) + " = " + value.canonical;
  }
  return toml_key(input.name) + " = " + (canonical.empty() ? "{}" : "{ " + canonical + " }");
}

}  // namespace

DeckValue check_paths(const DeckKey& key, const DeckNode& node) {
  DeckValue value;
  if (node.kind != DeckNode::Kind::table) {
    DeckKey text = key;
    text.type = KeyType::text;
    if (node.kind == DeckNode::Kind::list) wrong_value(key, node);
    value = check_value(text, node);
    value.paths = {{"", value.text}};
    return value;
  }
  if (node.children.empty()) wrong_value(key, node);
  for (const DeckNode& child : node.children) {
    check_name(key, child);
    const std::string& path = child.kind == DeckNode::Kind::text ? child.text : child.as_given;
    const bool structured = child.kind == DeckNode::Kind::list || child.kind == DeckNode::Kind::table;
    if (structured || path.empty()) wrong_value(key, node);
    value.paths.emplace_back(child.key, path);
    value.canonical += (value.canonical.empty() ? "" : ", ") + toml_key(child.key) + " = " + toml_text(path);
  }
  value.canonical = "{ " + value.canonical + " }";
  return value;
}

DeckValue check_inputs(const DeckKey& key, const DeckNode& node) {
  if (node.kind != DeckNode::Kind::table || node.children.empty()) wrong_value(key, node);
  std::vector<std::string> texts;
  DeckValue value;
  for (const DeckNode& child : node.children)
    texts.push_back(read_input(key, child, value.inputs.emplace_back()));
  std::ranges::sort(texts);  // their order says nothing
  for (const std::string& text : texts) value.canonical += (value.canonical.empty() ? "" : ", ") + text;
  value.canonical = "{ " + value.canonical + " }";
  return value;
}

}  // namespace lepton::train
