// SPDX-License-Identifier: Apache-2.0
// TOML to DeckNode and back; the only file that includes toml++. See the header.
#include "train/deck_tree.h"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <tuple>

namespace lepton::train {

namespace {

/// Where a node's position comes from: a file with lines, or an override as a whole.
struct Origin {
  std::string file;
  std::optional<SourcePosition> fixed;
  SourcePosition position(const toml::source_region& region) const {
    if (fixed) return *fixed;
    return {file, static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
  }
};

DeckNode convert(const toml::node& source, const Origin& origin);

void convert_table(const toml::table& table, const Origin& origin, DeckNode& node) {
  // toml++ has them in the order of their names; an override's, too, stand in the order of its text.
  std::vector<std::pair<const toml::key*, const toml::node*>> in_order;
  for (auto&& [key, value] : table) in_order.emplace_back(&key, &value);
  std::stable_sort(in_order.begin(), in_order.end(), [](const auto& a, const auto& b) {
    const toml::source_position &first = a.first->source().begin, &second = b.first->source().begin;
    return std::tie(first.line, first.column) < std::tie(second.line, second.column);
  });
  for (const auto& [key, value] : in_order) {
    DeckNode child = convert(*value, origin);
    child.key = std::string(key->str());
    child.key_position = origin.position(key->source());
    if (child.position.line == 0) child.position = child.key_position;  // [a.b] makes [a] without a place
    node.children.push_back(std::move(child));
  }
}

DeckNode convert(const toml::node& source, const Origin& origin) {
  DeckNode node;
  node.position = origin.position(source.source());
  if (const toml::table* table = source.as_table()) {
    node.kind = DeckNode::Kind::table;
    convert_table(*table, origin, node);
  } else if (const toml::array* array = source.as_array()) {
    node.kind = DeckNode::Kind::list;
    for (const toml::node& item : *array) node.children.push_back(convert(item, origin));
  } else if (const auto* flag = source.as_boolean()) {
    node.kind = DeckNode::Kind::boolean;
    node.boolean = flag->get();
  } else if (const auto* integer = source.as_integer()) {
    node.kind = DeckNode::Kind::integer;
    node.integer = integer->get();
  } else if (const auto* number = source.as_floating_point()) {
    node.kind = DeckNode::Kind::number;
    node.number = number->get();
  } else if (const auto* text = source.as_string()) {
    node.kind = DeckNode::Kind::text;
    node.text = text->get();
  } else {
    fail(Exit::deck, node.position.text(), "a date or time, which no key takes",
         "Put it in quotes if it is meant as text.");
  }
  return node;
}

bool is_bare_key(const std::string& part) {
  const auto allowed = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !part.empty() && std::all_of(part.begin(), part.end(), allowed);
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

DeckNode* find_child(DeckNode& table, const std::string& name) {
  for (DeckNode& child : table.children)
    if (child.key == name) return &child;
  return nullptr;
}

/// The child `name` of a table, made (as an empty table) where it is absent.
DeckNode& child_of(DeckNode& table, const std::string& name, const SourcePosition& position) {
  if (DeckNode* child = find_child(table, name)) return *child;
  DeckNode child;
  child.key = name;
  child.key_position = child.position = position;
  table.children.push_back(std::move(child));
  return table.children.back();
}

void remove_child(DeckNode& table, const std::string& name) {
  std::erase_if(table.children, [&](const DeckNode& child) { return child.key == name; });
}

}  // namespace

const DeckNode* DeckNode::find(const std::string& name) const {
  if (kind != Kind::table) return nullptr;
  for (const DeckNode& child : children)
    if (child.key == name) return &child;
  return nullptr;
}

const DeckNode* DeckNode::at(const std::string& path) const {
  const DeckNode* node = this;
  for (const std::string& part : split_path(path)) {
    node = node->find(part);
    if (node == nullptr) return nullptr;
  }
  return node;
}

DeckNode parse_deck_text(const std::string& path, const std::string& text) {
  try {
    const toml::table table = toml::parse(text, path);
    DeckNode root;
    root.position = {path, 1, 1};
    convert_table(table, {path, std::nullopt}, root);
    return root;
  } catch (const toml::parse_error& error) {
    const SourcePosition position = {path, static_cast<int>(error.source().begin.line),
                                     static_cast<int>(error.source().begin.column)};
    fail(Exit::deck, position.text(), "not TOML: " + std::string(error.description()),
         "See https://toml.io for the syntax; texts stand in quotes.");
  }
}

DeckNode parse_deck_value(const std::string& text, const SourcePosition& position) {
  const auto as_text = [&] {
    DeckNode node;
    node.kind = DeckNode::Kind::text;
    node.text = text;
    node.position = position;
    return node;
  };
  const size_t first = text.find_first_not_of(" \t");
  const bool structured =
      first != std::string::npos && std::string("[{\"'").find(text[first]) != std::string::npos;
  DeckNode node;
  try {
    const toml::table table = toml::parse("value = " + text);
    const toml::node* value = table.get("value");
    const bool plain = table.size() == 1 && value != nullptr && !value->is_date() && !value->is_time() &&
                       !value->is_date_time();
    node = plain ? convert(*value, {"", position}) : as_text();
  } catch (const toml::parse_error& error) {
    REQUIRE(!structured, Exit::deck, position.text(),
            "the value " + text + " is not TOML: " + std::string(error.description()),
            "Quote the whole for the shell, as in --set 'data.train.rows=[0, 100]'.");
    node = as_text();
  }
  node.as_given = text;
  return node;
}

void apply_override(DeckNode& root, const Override& override) {
  const SourcePosition position = {"--set " + override.key, 0, 0};
  const std::vector<std::string> parts = split_path(override.key);
  REQUIRE(std::all_of(parts.begin(), parts.end(), is_bare_key), Exit::deck, position.text(),
          "\"" + override.key + "\" is not a key", "A key is names joined by points, as in train.epochs.");
  DeckNode* node = &root;
  DeckNode* parent = &root;
  std::string path;
  for (const std::string& part : parts) {
    REQUIRE(node->kind == DeckNode::Kind::table, Exit::deck, position.text(),
            path + " is not a table, it is " + toml_text(*node), "Set " + path + " as a whole.");
    path += (path.empty() ? "" : ".") + part;
    parent = node;
    node = &child_of(*node, part, position);
  }
  DeckNode value = parse_deck_value(override.value, position);
  value.key = parts.back();
  value.key_position = position;
  *node = std::move(value);
  // `file` and `files` are one setting in two spellings: the one given last replaces the other.
  if (parts.back() == "file") remove_child(*parent, "files");
  if (parts.back() == "files") remove_child(*parent, "file");
}

std::string toml_text(double number) {
  if (!std::isfinite(number)) return std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, number);
  return std::string(buffer, result.ptr);
}

std::string toml_text(const std::string& text) {
  static const char* const digits = "0123456789ABCDEF";
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      quoted += std::string("\\") + c;
    else if (byte < 0x20 || byte == 0x7F)
      quoted += std::string("\\u00") + digits[byte >> 4] + digits[byte & 15];
    else
      quoted += c;
  }
  return quoted + "\"";
}

std::string toml_key(const std::string& name) {
  return is_bare_key(name) ? name : toml_text(name);
}

std::string toml_text(const DeckNode& node) {
  switch (node.kind) {
    case DeckNode::Kind::boolean:
      return node.boolean ? "true" : "false";
    case DeckNode::Kind::integer:
      return std::to_string(node.integer);
    case DeckNode::Kind::number:
      return toml_text(node.number);
    case DeckNode::Kind::text:
      return toml_text(node.text);
    case DeckNode::Kind::list:
    case DeckNode::Kind::table:
      break;
  }
  const bool table = node.kind == DeckNode::Kind::table;
  std::string text;
  for (const DeckNode& child : node.children)
    text += (text.empty() ? "" : ", ") + (table ? toml_key(child.key) + " = " : "") + toml_text(child);
  return table ? (text.empty() ? "{}" : "{ " + text + " }") : "[" + text + "]";
}

}  // namespace lepton::train
