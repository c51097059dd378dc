// SPDX-License-Identifier: Apache-2.0
// Checking one value against its key; see the header.
#include "train/deck_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "train/deck_inputs.h"
#include "train/deck_keys.h"
#include "train/deck_losses.h"
#include "train/deck_transforms.h"

namespace lepton::train {

void wrong_value(const DeckKey& key, const DeckNode& node, const std::string& hint) {
  fail(Exit::deck, node.position.text(), key.path + " = " + toml_text(node) + " is not " + expectation(key),
       (hint.empty() ? "" : hint + " ") + key.path + ": " + key.sentence + ".");
}

namespace {

[[noreturn]] void wrong(const DeckKey& key, const DeckNode& node, const std::string& hint = "") {
  wrong_value(key, node, hint);
}

/// Text, or the words of an override whatever TOML takes them for (`--set run.dir=2024`).
const std::string& text_of(const DeckKey& key, const DeckNode& node) {
  const bool structured = node.kind == DeckNode::Kind::list || node.kind == DeckNode::Kind::table;
  const bool text = node.kind == DeckNode::Kind::text;
  const std::string& words = text ? node.text : node.as_given;
  if (structured || words.empty()) wrong(key, node);
  return words;
}

DeckValue check_choice(const DeckKey& key, const DeckNode& node) {
  DeckValue value;
  value.text = text_of(key, node);
  for (; value.choice < static_cast<int>(key.choices.size()); ++value.choice)
    if (key.choices[static_cast<size_t>(value.choice)] == value.text) {
      value.canonical = toml_text(value.text);
      return value;
    }
  wrong(key, node, did_you_mean(value.text, key.choices));
}

DeckValue check_integer(const DeckKey& key, const DeckNode& node) {
  if (node.kind != DeckNode::Kind::integer || !key.range.holds(static_cast<double>(node.integer)))
    wrong(key, node);
  DeckValue value;
  value.integer = node.integer;
  value.canonical = std::to_string(node.integer);
  return value;
}

DeckValue check_number(const DeckKey& key, const DeckNode& node) {
  DeckValue value;
  if (node.kind == DeckNode::Kind::integer)
    value.number = static_cast<double>(node.integer);
  else if (node.kind == DeckNode::Kind::number)
    value.number = node.number;
  else
    wrong(key, node);
  if (!std::isfinite(value.number) || !key.range.holds(value.number)) wrong(key, node);
  value.canonical = toml_text(value.number);
  return value;
}

DeckValue check_rows(const DeckKey& key, const DeckNode& node) {
  const auto fits = [](const DeckNode& item) {
    return item.kind == DeckNode::Kind::integer && item.integer >= 0;
  };
  const bool pair = node.kind == DeckNode::Kind::list && node.children.size() == 2 &&
                    fits(node.children[0]) && fits(node.children[1]) &&
                    node.children[0].integer < node.children[1].integer;
  if (!pair) wrong(key, node);
  DeckValue value;
  value.rows = {node.children[0].integer, node.children[1].integer};
  value.canonical = toml_text(node);
  return value;
}

DeckValue check_files(const DeckKey& key, const DeckNode& node) {
  if (node.kind != DeckNode::Kind::list || node.children.empty()) wrong(key, node);
  DeckValue value;
  for (const DeckNode& item : node.children) {
    if (item.kind != DeckNode::Kind::text || item.text.empty()) wrong(key, node);
    value.texts.push_back(item.text);
  }
  value.canonical = toml_text(node);
  return value;
}

/// The same name twice, or one that begins like an earlier one, could never be reached.
bool reachable(const std::vector<std::pair<int64_t, std::string>>& shares, const std::string& name) {
  return std::ranges::none_of(shares, [&](const auto& earlier) { return name.starts_with(earlier.second); });
}

DeckValue check_shares(const DeckKey& key, const DeckNode& node) {
  constexpr int64_t units_max = 10000;
  if (node.kind != DeckNode::Kind::list || node.children.empty()) wrong(key, node);
  DeckValue value;
  for (const DeckNode& item : node.children) {
    if (item.kind != DeckNode::Kind::text) wrong(key, node);
    int64_t units = 0;
    const char* const end = item.text.data() + item.text.size();
    const auto [rest, status] = std::from_chars(item.text.data(), end, units);
    const bool named = status == std::errc() && end - rest >= 2 && *rest == ' ' && rest[1] != ' ';
    if (!named || units < 1 || units > units_max) wrong(key, node);
    const std::string name(rest + 1, end);
    if (!reachable(value.shares, name))
      wrong(key, node, "\"" + name + "\" begins like a share before it: give the longer names first.");
    value.shares.emplace_back(units, name);
  }
  value.canonical = toml_text(node);
  return value;
}

DeckValue check_renames(const DeckKey& key, const DeckNode& node) {
  constexpr std::string_view arrow = " -> ";
  if (node.kind != DeckNode::Kind::list || node.children.empty()) wrong(key, node);
  DeckValue value;
  for (const DeckNode& item : node.children) {
    const size_t at = item.kind == DeckNode::Kind::text ? item.text.find(arrow) : std::string::npos;
    if (at == std::string::npos) wrong(key, node);
    value.renames.emplace_back(item.text.substr(0, at), item.text.substr(at + arrow.size()));
  }
  value.canonical = toml_text(node);
  return value;
}

DeckValue check_numbers(const DeckKey& key, const DeckNode& node) {
  if (node.kind != DeckNode::Kind::list || node.children.empty()) wrong(key, node);
  DeckValue value;
  for (const DeckNode& item : node.children) {
    const bool whole = item.kind == DeckNode::Kind::integer;
    const double number = whole ? static_cast<double>(item.integer) : item.number;
    const bool fits = whole || item.kind == DeckNode::Kind::number;
    if (!fits || !std::isfinite(number) || !key.range.holds(number)) wrong(key, node);
    value.numbers.push_back(number);
    value.canonical += (value.canonical.empty() ? "[" : ", ") + toml_text(number);
  }
  value.canonical += "]";
  return value;
}

DeckValue check_sizes(const DeckKey& key, const DeckNode& node) {
  const bool one = node.kind == DeckNode::Kind::integer;
  if (!one && (node.kind != DeckNode::Kind::list || node.children.empty())) wrong(key, node);
  DeckValue value;
  for (const DeckNode& item : one ? std::vector<DeckNode>{node} : node.children) {
    const bool fits =
        item.kind == DeckNode::Kind::integer && key.range.holds(static_cast<double>(item.integer));
    if (!fits) wrong(key, node);
    value.numbers.push_back(static_cast<double>(item.integer));
  }
  value.canonical = toml_text(node);
  return value;
}

DeckValue check_names(const DeckKey& key, const DeckNode& node) {
  if (node.kind != DeckNode::Kind::list) wrong(key, node);
  DeckValue value;
  for (const DeckNode& item : node.children) {
    if (item.kind != DeckNode::Kind::text) wrong(key, node);
    if (!key.choices.empty() && std::ranges::find(key.choices, item.text) == key.choices.end())
      wrong(key, node, did_you_mean(item.text, key.choices));
    if (std::ranges::find(value.texts, item.text) != value.texts.end())
      wrong(key, node, "\"" + item.text + "\" is there twice.");
    value.texts.push_back(item.text);
  }
  value.canonical = toml_text(node);
  return value;
}

/// A number above 0 at the start of `text`, and the rest behind it; no sign, exponent, hex or inf.
std::optional<std::pair<double, std::string>> leading_number(const std::string& text) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (result.ec != std::errc() || !(number > 0) || number > 1e15) return std::nullopt;
  return std::pair{number, std::string(result.ptr, end)};
}

std::optional<double> parse_duration(const std::string& text) {
  static const std::pair<const char*, double> units[] = {{"ms", 1e-3}, {"s", 1}, {"min", 60}, {"h", 3600}};
  const auto parts = leading_number(text);
  if (!parts) return std::nullopt;
  const std::string unit = parts->second.starts_with(' ') ? parts->second.substr(1) : parts->second;
  for (const auto& [name, seconds] : units)
    if (unit == name) return parts->first * seconds;
  return std::nullopt;
}

std::optional<Interval> parse_interval(const std::string& text) {
  if (text == "end") return Interval{};
  const auto parts = leading_number(text);
  if (!parts || parts->first != std::floor(parts->first)) return std::nullopt;
  const auto count = static_cast<int64_t>(parts->first);
  if (text.find('.') != std::string::npos) return std::nullopt;
  if (parts->second == " steps" || parts->second == " step") return Interval{.steps = count};
  if (parts->second == " epochs" || parts->second == " epoch") return Interval{.epochs = count};
  return std::nullopt;
}

std::string interval_text(const Interval& interval) {
  if (interval.steps > 0) return std::to_string(interval.steps) + " steps";
  if (interval.epochs > 0)
    return std::to_string(interval.epochs) + (interval.epochs == 1 ? " epoch" : " epochs");
  return interval.seconds > 0 ? toml_text(interval.seconds) + "s" : "end";
}

DeckValue check_interval(const DeckKey& key, const DeckNode& node) {
  DeckValue value;
  value.text = text_of(key, node);
  if (std::find(key.choices.begin(), key.choices.end(), value.text) != key.choices.end()) {
    value.canonical = toml_text(value.text);
    return value;
  }
  if (const auto interval = parse_interval(value.text); interval && key.type != KeyType::duration)
    value.interval = *interval;
  else if (const auto seconds = parse_duration(value.text); seconds && key.type != KeyType::interval)
    value.number = value.interval.seconds = *seconds;
  else
    wrong(key, node);
  value.canonical = toml_text(interval_text(value.interval));
  return value;
}

DeckValue check_plain(const DeckKey& key, const DeckNode& node) {
  DeckValue value;
  if (key.type == KeyType::boolean) {
    if (node.kind != DeckNode::Kind::boolean) wrong(key, node);
    value.boolean = node.boolean;
    value.canonical = node.boolean ? "true" : "false";
    return value;
  }
  value.text = text_of(key, node);
  if (key.type == KeyType::file || key.type == KeyType::path) value.texts = {value.text};
  value.canonical = toml_text(value.text);
  return value;
}

}  // namespace

bool Range::holds(double value) const {
  return (above ? value > least : value >= least) && (below ? value < most : value <= most);
}

std::string Range::text() const {
  const auto bound = [](double value) {
    const bool whole = value == std::floor(value) && std::abs(value) < 1e16;
    return whole ? std::to_string(static_cast<int64_t>(value)) : toml_text(value);
  };
  std::string text;
  if (std::isfinite(least)) text = (above ? " above " : " from ") + bound(least);
  if (std::isfinite(most)) return text + (below ? " to below " : " to ") + bound(most);
  return text + (above || text.empty() ? "" : " up");
}

std::string choices_text(const std::vector<std::string>& choices) {
  std::string text;
  for (size_t i = 0; i < choices.size(); ++i)
    text += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + toml_text(choices[i]);
  return text;
}

std::string did_you_mean(const std::string& name, const std::vector<std::string>& candidates) {
  const std::string nearest = nearest_name(name, candidates);
  return nearest.empty() ? "" : "Did you mean \"" + nearest + "\"?";
}

/// Of a time or interval: words that it may also be.
static std::string or_words(const DeckKey& key) {
  return key.choices.empty() ? "" : "; or " + choices_text(key.choices);
}

std::string expectation(const DeckKey& key) {
  switch (key.type) {
    case KeyType::text:
      return "text";
    case KeyType::choice:
      return choices_text(key.choices);
    case KeyType::boolean:
      return "true or false";
    case KeyType::integer:
      return "an integer" + key.range.text();
    case KeyType::number:
      return "a number" + key.range.text();
    case KeyType::file:
      return "a path or glob in quotes";
    case KeyType::files:
      return "a list of paths or globs, as in [\"a.h5\", \"part-*.h5\"]";
    case KeyType::path:
      return "a path in quotes";
    case KeyType::renames:
      return "a list of beginnings of names and what to put for them, as in [\"encoder. -> \", \"fc -> "
             "head\"]";
    case KeyType::paths:
      return "text, or a text for each of several names, as in { title = \"a\", body = \"b\" }";
    case KeyType::transforms:
      return "a list of transforms, as in [{ type = \"log1p\" }, { type = \"clip\", low = 0, high = 5 }]";
    case KeyType::inputs:
      return "a table for each input, as in { title = { normalize = \"unit\" } }";
    case KeyType::losses:
      return "a list of losses, as in [{ from = \"dense_2\", target = \"labels\", type = "
             "\"softmax_cross_entropy\" }]";
    case KeyType::rows:
      return "two rows [from, to] with 0 <= from < to";
    case KeyType::duration:
      return "a time above 0, as in \"500ms\", \"60s\", \"10min\" or \"2h\"" + or_words(key);
    case KeyType::interval:
      return "an interval, as in \"500 steps\", \"1 epoch\" or \"end\"";
    case KeyType::interval_or_duration:
      return "an interval, as in \"60s\", \"500 steps\", \"1 epoch\" or \"end\"" + or_words(key);
    case KeyType::shares:
      return "a list of units, 1 to 10000, and class names, as in [\"8 cuda\", \"1 cpu\"]";
    case KeyType::numbers:
      return "a list of numbers" + key.range.text() + ", as in [0.5, 1]";
    case KeyType::names:
      if (key.choices.empty()) return "a list of names, each once, as in [\"features.\", \"embedding\"]";
      return "a list of some of " + choices_text(key.choices);
    case KeyType::sizes:
      return "an integer" + key.range.text() + ", or a list of them, one for each side";
    case KeyType::layers:
      return "a list of layers, as in [{ type = \"dense\", units = 10 }]";
  }
  CHECK(false, key.path);
  return "";
}

DeckValue check_value(const DeckKey& key, const DeckNode& node) {
  switch (key.type) {
    case KeyType::choice:
      return check_choice(key, node);
    case KeyType::integer:
      return check_integer(key, node);
    case KeyType::number:
      return check_number(key, node);
    case KeyType::paths:
      return check_paths(key, node);
    case KeyType::inputs:
      return check_inputs(key, node);
    case KeyType::losses:
      return check_losses(key, node);
    case KeyType::transforms:
      return check_transforms(key, node);
    case KeyType::sizes:
      return check_sizes(key, node);
    case KeyType::rows:
      return check_rows(key, node);
    case KeyType::files:
      return check_files(key, node);
    case KeyType::renames:
      return check_renames(key, node);
    case KeyType::shares:
      return check_shares(key, node);
    case KeyType::numbers:
      return check_numbers(key, node);
    case KeyType::names:
      return check_names(key, node);
    case KeyType::duration:
    case KeyType::interval:
    case KeyType::interval_or_duration:
      return check_interval(key, node);
    default:
      return check_plain(key, node);
  }
}

}  // namespace lepton::train
