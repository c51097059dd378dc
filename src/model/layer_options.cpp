// SPDX-License-Identifier: Apache-2.0
// Reading and refusing options of deck layers; see the header. The texts here are what a user sees who
// mistypes a layer, so each says what was found, what is allowed, and where.
#include "model/layer_options.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace lepton::model {

void layer_error(const SourcePosition& position, const std::string& layer, const std::string& what,
                 const std::string& hint) {
  fail(Exit::deck, position.text(), "layer \"" + layer + "\": " + what, hint);
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "\"" : ", \"") + name + "\"";
  return text;
}

namespace {

std::string number_text(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

struct ValueText {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return number_text(value); }
  std::string operator()(const std::string& value) const { return "\"" + value + "\""; }
  std::string operator()(const std::vector<int64_t>& value) const { return shape_text(value); }
  std::string operator()(const std::vector<std::string>& value) const {
    return "[" + quoted_list(value) + "]";
  }
};

void refuse_unknown(const std::string& found, const char* what, const SourcePosition& position,
                    const LayerSpec& layer, const std::string& name, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), found) != known.end()) return;
  const std::string nearest = nearest_name(found, known);
  const std::string all = known.empty() ? "It takes none." : "It takes " + quoted_list(known) + ".";
  layer_error(position, name,
              std::string("unknown ") + what + " \"" + found + "\" of a " + layer.type + " layer",
              nearest.empty() ? all : "Did you mean \"" + nearest + "\"? " + all);
}

}  // namespace

std::string option_text(const OptionValue& value) {
  return std::visit(ValueText{}, value);
}

LayerOptions::LayerOptions(const LayerSpec& layer, std::string name, const std::vector<OptionRow>& rows,
                           const std::vector<const char*>& nested)
    : layer_(layer), name_(std::move(name)) {
  std::vector<std::string> known;
  for (const OptionRow& row : rows) known.emplace_back(row.name);
  for (const char* of_every_layer : {"name", "from", "weights_of", "frozen"})
    known.emplace_back(of_every_layer);
  known.insert(known.end(), nested.begin(), nested.end());
  for (const auto& [option, entry] : layer.options) {
    refuse_unknown(option, "option", entry.position, layer, name_, known);
    const bool is_list = std::find(nested.begin(), nested.end(), option) != nested.end();
    if (is_list)
      layer_error(entry.position, name_,
                  "\"" + option + "\" must be a list of layers, not " + option_text(entry.value), "");
  }
  const std::vector<std::string> lists(nested.begin(), nested.end());
  for (const auto& [list, layers] : layer.nested)
    refuse_unknown(list, "list of layers", layer.position, layer, name_, lists);
}

bool LayerOptions::is_text(const std::string& option) const {
  const OptionValue* value = find(option);
  return value != nullptr && std::holds_alternative<std::string>(*value);
}

const SourcePosition& LayerOptions::position(const std::string& option) const {
  const auto found = layer_.options.find(option);
  return found == layer_.options.end() ? layer_.position : found->second.position;
}

void LayerOptions::error(const std::string& option, const std::string& what, const std::string& hint) const {
  layer_error(position(option), name_, what, hint);
}

const OptionValue* LayerOptions::find(const std::string& option) const {
  const auto found = layer_.options.find(option);
  return found == layer_.options.end() ? nullptr : &found->second.value;
}

void LayerOptions::missing(const std::string& option, const std::string& expected) const {
  layer_error(layer_.position, name_, "a " + layer_.type + " layer needs the option \"" + option + "\"",
              "Give " + option + " = " + expected + ".");
}

void LayerOptions::wrong(const std::string& option, const std::string& expected) const {
  error(option, option + " = " + option_text(*find(option)) + " is not " + expected, "");
}

int64_t LayerOptions::integer(const std::string& option, int64_t otherwise, int64_t least) const {
  return has(option) ? required_integer(option, least) : otherwise;
}

int64_t LayerOptions::required_integer(const std::string& option, int64_t least) const {
  // 2^31 - 1: oneDNN's dimensions and our file formats take larger ones, no machine does.
  constexpr int64_t most = 2147483647;
  const std::string expected = "an integer from " + std::to_string(least) + " up";
  const OptionValue* value = find(option);
  if (value == nullptr) missing(option, expected);
  const int64_t* number = std::get_if<int64_t>(value);
  if (number == nullptr || *number < least || *number > most) wrong(option, expected);
  return *number;
}

double LayerOptions::any_number(const std::string& option, const std::string& expected) const {
  const OptionValue* value = find(option);
  if (const auto* real = std::get_if<double>(value)) return *real;
  if (const auto* whole = std::get_if<int64_t>(value)) return static_cast<double>(*whole);
  wrong(option, expected);
}

double LayerOptions::number(const std::string& option, double otherwise, double least, double below) const {
  if (!has(option)) return otherwise;
  const std::string expected = "a number from " + number_text(least) +
                               (std::isfinite(below) ? " to below " + number_text(below) : " up");
  const double number = any_number(option, expected);
  if (!(number >= least && number < below)) wrong(option, expected);
  return number;
}

double LayerOptions::positive_number(const std::string& option, double otherwise) const {
  if (!has(option)) return otherwise;
  const std::string expected = "a number above 0";
  const double number = any_number(option, expected);
  if (!(number > 0 && std::isfinite(number))) wrong(option, expected);
  return number;
}

bool LayerOptions::boolean(const std::string& option, bool otherwise) const {
  const OptionValue* value = find(option);
  if (value == nullptr) return otherwise;
  const bool* flag = std::get_if<bool>(value);
  if (flag == nullptr) wrong(option, "true or false");
  return *flag;
}

std::string LayerOptions::choice(const std::string& option, const std::string& otherwise,
                                 const std::vector<std::string>& choices) const {
  const OptionValue* value = find(option);
  if (value == nullptr) return otherwise;
  const std::string* text = std::get_if<std::string>(value);
  if (text == nullptr || std::find(choices.begin(), choices.end(), *text) == choices.end()) {
    const std::string nearest = text == nullptr ? "" : nearest_name(*text, choices);
    error(option, option + " = " + option_text(*value) + " is not one of " + quoted_list(choices),
          nearest.empty() ? "" : "Did you mean \"" + nearest + "\"?");
  }
  return *text;
}

Extent LayerOptions::extent(const std::string& option, const Extent& otherwise, int64_t least) const {
  return has(option) ? required_extent(option, otherwise.size(), least) : otherwise;
}

Extent LayerOptions::required_extent(const std::string& option, size_t axes, int64_t least) const {
  constexpr int64_t most = 1 << 20;
  static const char* const several[] = {"", "", ", or two of them: [height, width]",
                                        ", or three of them: [depth, height, width]"};
  const std::string expected = "an integer from " + std::to_string(least) + " up" + several[axes];
  const OptionValue* value = find(option);
  if (value == nullptr) missing(option, expected);
  const auto fits = [&](int64_t number) { return number >= least && number <= most; };
  if (const auto* one = std::get_if<int64_t>(value); one != nullptr && fits(*one)) return Extent(axes, *one);
  const auto* each = std::get_if<std::vector<int64_t>>(value);
  if (each == nullptr || each->size() != axes || !std::all_of(each->begin(), each->end(), fits))
    wrong(option, expected);
  return *each;
}

std::vector<int64_t> LayerOptions::required_integers(const std::string& option) const {
  const std::string expected = "a list of integers";
  const OptionValue* value = find(option);
  if (value == nullptr) missing(option, expected);
  const auto* list = std::get_if<std::vector<int64_t>>(value);
  if (list == nullptr || list->empty()) wrong(option, expected);
  return *list;
}

std::string LayerOptions::name_of(const std::string& option) const {
  const OptionValue* value = find(option);
  if (value == nullptr) return "";
  const auto* name = std::get_if<std::string>(value);
  if (name == nullptr || name->empty()) wrong(option, "the name of a layer in quotes");
  return *name;
}

std::vector<std::string> LayerOptions::names_of(const std::string& option) const {
  const OptionValue* value = find(option);
  if (value == nullptr) return {};
  if (const auto* name = std::get_if<std::string>(value); name != nullptr && !name->empty()) return {*name};
  const auto* names = std::get_if<std::vector<std::string>>(value);
  if (names == nullptr || names->empty())
    wrong(option, "the name of a layer in quotes, or a list of such names");
  return *names;
}

}  // namespace lepton::model
