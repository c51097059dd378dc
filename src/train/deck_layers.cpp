// SPDX-License-Identifier: Apache-2.0
// Reading the deck's lists of layers; see the header.
#include "train/deck_layers.h"

#include <algorithm>
#include <cmath>

namespace lepton::train {

namespace {

constexpr int depth_most = 32;  // of nested lists: a deck is no program

std::vector<model::LayerSpec> read_list(const DeckNode& list, const std::string& path, int depth);

[[noreturn]] void layer_problem(const SourcePosition& position, const std::string& what,
                                const std::string& hint) {
  fail(Exit::deck, position.text(), what, hint);
}

bool holds_only(const DeckNode& list, DeckNode::Kind kind) {
  return std::all_of(list.children.begin(), list.children.end(),
                     [&](const DeckNode& item) { return item.kind == kind; });
}

/// Lists of layers by what they hold; an empty list by its name.
bool is_nested_list(const DeckNode& node) {
  if (node.kind != DeckNode::Kind::list) return false;
  if (node.children.empty()) return node.key == "layers" || node.key == "projection";
  return node.children.front().kind == DeckNode::Kind::table;
}

model::OptionValue read_option(const DeckNode& node, const std::string& path) {
  switch (node.kind) {
    case DeckNode::Kind::boolean:
      return node.boolean;
    case DeckNode::Kind::integer:
      return node.integer;
    case DeckNode::Kind::number:
      if (!std::isfinite(node.number))
        layer_problem(node.position, path + " = " + toml_text(node) + " is not a finite number", "");
      return node.number;
    case DeckNode::Kind::text:
      return node.text;
    case DeckNode::Kind::list:
      if (holds_only(node, DeckNode::Kind::integer)) {
        std::vector<int64_t> values;
        for (const DeckNode& item : node.children) values.push_back(item.integer);
        return values;
      }
      if (holds_only(node, DeckNode::Kind::text)) {
        std::vector<std::string> texts;
        for (const DeckNode& item : node.children) texts.push_back(item.text);
        return texts;
      }
      break;
    case DeckNode::Kind::table:
      break;
  }
  layer_problem(
      node.position, path + " = " + toml_text(node) + " is not an option of a layer",
      "Options are numbers, texts, true or false, lists of integers or of texts, or lists of layers.");
}

model::LayerSpec read_layer(const DeckNode& node, const std::string& path, int depth) {
  if (node.kind != DeckNode::Kind::table)
    layer_problem(node.position, path + " = " + toml_text(node) + " is not a layer",
                  "A layer is a table, as in { type = \"dense\", units = 10 }.");
  const DeckNode* type = node.find("type");
  if (type == nullptr)
    layer_problem(node.position, path + " = " + toml_text(node) + " has no type",
                  "Give it one, as in { type = \"dense\", units = 10 }.");
  if (type->kind != DeckNode::Kind::text || type->text.empty())
    layer_problem(type->position,
                  path + ".type = " + toml_text(*type) + " is not the name of a type in quotes",
                  "`lepton keys` lists all types of layers.");
  model::LayerSpec layer;
  layer.type = type->text;
  layer.position = node.position;
  for (const DeckNode& child : node.children) {
    const std::string child_path = path + "." + child.key;
    if (&child == type) continue;
    if (is_nested_list(child))
      layer.nested[child.key] = read_list(child, child_path, depth + 1);
    else
      layer.options[child.key] = {read_option(child, child_path), child.position};
  }
  return layer;
}

std::vector<model::LayerSpec> read_list(const DeckNode& list, const std::string& path, int depth) {
  if (list.kind != DeckNode::Kind::list)
    layer_problem(list.position, path + " = " + toml_text(list) + " is not a list of layers",
                  "Write it as in [{ type = \"dense\", units = 10 }].");
  if (list.children.empty())
    layer_problem(list.position, path + " holds no layer",
                  "Write it as in [{ type = \"dense\", units = 10 }].");
  if (depth > depth_most) layer_problem(list.position, path + " is nested too deeply", "");
  std::vector<model::LayerSpec> layers;
  for (size_t i = 0; i < list.children.size(); ++i)
    layers.push_back(read_layer(list.children[i], path + "[" + std::to_string(i) + "]", depth));
  return layers;
}

struct CanonicalOption {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return toml_text(value); }
  std::string operator()(const std::string& value) const { return toml_text(value); }
  std::string operator()(const std::vector<int64_t>& values) const {
    std::string text;
    for (const int64_t value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
    return "[" + text + "]";
  }
  std::string operator()(const std::vector<std::string>& values) const {
    std::string text;
    for (const std::string& value : values) text += (text.empty() ? "" : ", ") + toml_text(value);
    return "[" + text + "]";
  }
};

}  // namespace

std::vector<model::LayerSpec> read_layers(const DeckNode& list, const std::string& path) {
  return read_list(list, path, 0);
}

std::string canonical_layer(const model::LayerSpec& layer) {
  std::string text = "{ type = " + toml_text(layer.type);
  for (const auto& [name, option] : layer.options)
    text += ", " + toml_key(name) + " = " + std::visit(CanonicalOption{}, option.value);
  for (const auto& [name, layers] : layer.nested) {
    std::string list;
    for (const model::LayerSpec& nested : layers)
      list += (list.empty() ? "" : ", ") + canonical_layer(nested);
    text += ", " + toml_key(name) + " = [" + list + "]";
  }
  return text + " }";
}

}  // namespace lepton::train
