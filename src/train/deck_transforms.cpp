// SPDX-License-Identifier: Apache-2.0
// The table of transforms, and reading a list of them. See the header.
#include "train/deck_transforms.h"

#include <algorithm>

#include "data/transforms.h"

namespace lepton::train {

namespace {

using data::Transform;

struct TransformOption {
  const char* name;
  KeyType type;
  const char* standard;  ///< "": must be given; nullptr: may be left out
  const char* sentence;
  void (*set)(Transform&, const DeckValue&);
  Range range = {};
  std::vector<std::string> choices = {};
};

struct TransformRow {
  const char* type;
  Transform::Kind kind;
  const char* sentence;
  std::vector<TransformOption> options;
};

const std::vector<TransformRow>& rows() {
  static const std::vector<TransformRow> table = {
      {"log1p", Transform::Kind::log1p, "ln(1 + x), for x above -1", {}},
      {"clip",
       Transform::Kind::clip,
       "to a range",
       {{"low", KeyType::number, "", "what is below becomes this",
         [](Transform& t, const DeckValue& v) { t.low = v.number; }},
        {"high", KeyType::number, "", "what is above becomes this",
         [](Transform& t, const DeckValue& v) { t.high = v.number; }}}},
      {"scale",
       Transform::Kind::scale,
       "factor x + offset",
       {{"factor", KeyType::number, "1", "values are multiplied by it",
         [](Transform& t, const DeckValue& v) { t.factor = v.number; }},
        {"offset", KeyType::number, "0", "and this is added",
         [](Transform& t, const DeckValue& v) { t.offset = v.number; }}}},
      {"one_hot",
       Transform::Kind::one_hot,
       "of class ids: as many values, of which one is 1",
       {{"classes", KeyType::integer, "", "values that one becomes",
         [](Transform& t, const DeckValue& v) { t.classes = v.integer; }, Range{.least = 1, .most = 1e6}}}},
      {"random_flip",
       Transform::Kind::random_flip,
       "of images and volumes, in training",
       {{"axis",
         KeyType::choice,
         "\"horizontal\"",
         "of each other sample this is reversed",
         [](Transform& t, const DeckValue& v) { t.axis = static_cast<data::Axis>(v.choice); },
         {},
         {"horizontal", "vertical", "depth"}}}},
      {"random_crop",
       Transform::Kind::random_crop,
       "of images and volumes: a part at a random place in training, the middle else; without size, moves "
       "them by up to the padding along each axis, in training",
       {{"padding", KeyType::integer, "0", "zeros on each side, in training",
         [](Transform& t, const DeckValue& v) { t.padding = v.integer; }, Range{.least = 0, .most = 1e6}},
        {"size", KeyType::sizes, nullptr, "what is left of each side; without it, what there was",
         [](Transform& t, const DeckValue& v) { t.size.assign(v.numbers.begin(), v.numbers.end()); },
         Range{.least = 1, .most = 1e6}}}},
  };
  return table;
}

template <class Row>
std::vector<std::string> names_of(const std::vector<Row>& table, const char* Row::*name) {
  std::vector<std::string> names;
  for (const Row& row : table) names.push_back(row.*name);
  return names;
}

std::string with_hint(const std::string& name, const std::vector<std::string>& names,
                      const std::string& rest) {
  const std::string hint = did_you_mean(name, names);
  return hint + (hint.empty() ? "" : " ") + rest;
}

const TransformRow& row_of(const DeckKey& key, const DeckNode& node, const std::string& path) {
  const DeckNode* type = node.find("type");
  if (node.kind != DeckNode::Kind::table || type == nullptr || type->kind != DeckNode::Kind::text)
    wrong_value(key, node, "Each transform is a table with a type.");
  const auto row =
      std::ranges::find(rows(), type->text, [](const TransformRow& r) { return std::string(r.type); });
  const std::vector<std::string> names = names_of(rows(), &TransformRow::type);
  REQUIRE(row != rows().end(), Exit::deck, type->position.text(),
          path + ".type = " + toml_text(type->text) + " is no transform",
          with_hint(type->text, names, "There are " + choices_text(names) + "."));
  return *row;
}

Transform read_transform(const DeckKey& key, const DeckNode& node, const std::string& path,
                         std::string& canonical) {
  const TransformRow& row = row_of(key, node, path);
  const std::vector<std::string> names = names_of(row.options, &TransformOption::name);
  for (const DeckNode& child : node.children)
    REQUIRE(child.key == "type" || std::ranges::count(names, child.key) == 1, Exit::deck,
            child.key_position.text(), "unknown option " + path + "." + child.key,
            names.empty()
                ? std::string(row.type) + " takes none."
                : with_hint(child.key, names, std::string(row.type) + " takes " + choices_text(names) + "."));
  Transform transform;
  transform.kind = row.kind;
  canonical = "{ type = " + toml_text(std::string(row.type));
  for (const TransformOption& option : row.options) {
    DeckKey own;
    own.path = path + "." + option.name;
    own.type = option.type;
    own.sentence = option.sentence;
    own.range = option.range;
    own.choices = option.choices;
    const DeckNode* child = node.find(option.name);
    if (child == nullptr && option.standard == nullptr) continue;
    REQUIRE(child != nullptr || *option.standard != 0, Exit::deck, node.position.text(),
            own.path + " is missing", "It is " + expectation(own) + ": " + own.sentence + ".");
    const DeckValue value =
        check_value(own, child ? *child : parse_deck_value(option.standard, node.position));
    option.set(transform, value);
    canonical += ", " + std::string(option.name) + " = " + value.canonical;
  }
  canonical += " }";
  return transform;
}

/// What a transform cannot be, and where in the list it cannot stand.
void check_place(const DeckNode& node, const std::string& path, const Transform& transform,
                 const std::vector<Transform>& before) {
  const std::string where = node.position.text();
  const bool behind_random = !before.empty() && data::is_random(before.back());
  REQUIRE(transform.kind != Transform::Kind::clip || transform.low <= transform.high, Exit::deck, where,
          path + " clips to nothing: low is above high", "");
  REQUIRE(data::is_random(transform) || !behind_random, Exit::deck, where,
          path + " stands behind a random transform",
          "Values are transformed first, then normalised, then moved at random: put random transforms last.");
  REQUIRE(transform.kind != Transform::Kind::random_crop || transform.padding > 0 || !transform.size.empty(),
          Exit::deck, where, path + " crops nothing: it has neither padding nor size",
          "Give size for a part of each sample, padding to move it, or both.");
  REQUIRE(transform.size.empty() || !behind_random, Exit::deck, where,
          path + " has a size and stands behind another random transform",
          "Put the random_crop with a size before them: it is once at most in a list.");
}

}  // namespace

std::string transform_reference() {
  std::string text;
  for (const TransformRow& row : rows()) {
    text += std::string(row.type) + ": " + row.sentence + "\n";
    for (const TransformOption& option : row.options) {
      DeckKey key;
      key.type = option.type;
      key.range = option.range;
      key.choices = option.choices;
      text += "    " + std::string(option.name) + " = " + expectation(key) + " (" +
              (option.standard == nullptr ? "optional"
               : *option.standard == 0    ? "required"
                                          : "default " + std::string(option.standard)) +
              "): " + option.sentence + "\n";
    }
  }
  return text;
}

DeckValue check_transforms(const DeckKey& key, const DeckNode& node) {
  if (node.kind != DeckNode::Kind::list) wrong_value(key, node);
  DeckValue value;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const DeckNode& child = node.children[i];
    const std::string path = key.path + "[" + std::to_string(i) + "]";
    std::string canonical;
    const Transform transform = read_transform(key, child, path, canonical);
    check_place(child, path, transform, value.transforms);
    value.transforms.push_back(transform);
    value.canonical += (value.canonical.empty() ? "" : ", ") + canonical;
  }
  value.canonical = "[" + value.canonical + "]";
  return value;
}

}  // namespace lepton::train
