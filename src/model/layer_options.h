// SPDX-License-Identifier: Apache-2.0
// LayerOptions: reads the options of one deck layer with their types, ranges and defaults. Every error names
// the layer, the option, what was found and what is allowed, at the option's position in the deck. Invariant:
// an option that the layer's table row does not list is refused before anything is read, so no option is ever
// ignored. What every layer takes (name, from, weights_of, frozen) is read in model/layer_lists. Used by the
// builders of model/layers*.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "model/spec.h"

namespace lepton::model {

/// One option of a layer type, for validation and for the reference.
struct OptionRow {
  const char* name;
  const char* values;    ///< "integer", "number", "h | [h, w]", ...
  const char* standard;  ///< default as text; "" = must be given
  const char* sentence;
};

/// Per axis that a window slides over: length; height and width; or depth, height and width.
using Extent = std::vector<int64_t>;

/// Throws Error(deck) at `position`: layer "NAME": what.
[[noreturn]] void layer_error(const SourcePosition& position, const std::string& layer,
                              const std::string& what, const std::string& hint);

/// `"a", "b" and "c"`-like list for hints.
std::string quoted_list(const std::vector<std::string>& names);

class LayerOptions {
 public:
  /// Refuses options and nested lists that `rows` and `nested` do not name.
  LayerOptions(const LayerSpec& layer, std::string name, const std::vector<OptionRow>& rows,
               const std::vector<const char*>& nested);

  bool has(const std::string& option) const { return layer_.options.contains(option); }
  bool is_text(const std::string& option) const;
  /// The option's position, or the layer's where the option is absent.
  const SourcePosition& position(const std::string& option) const;
  [[noreturn]] void error(const std::string& option, const std::string& what, const std::string& hint) const;

  // Absent options give `otherwise`; the *required* ones are errors at the layer's position.
  int64_t integer(const std::string& option, int64_t otherwise, int64_t least) const;
  int64_t required_integer(const std::string& option, int64_t least) const;
  /// least <= value < below; integers are taken as numbers.
  double number(const std::string& option, double otherwise, double least,
                double below = std::numeric_limits<double>::infinity()) const;
  double positive_number(const std::string& option, double otherwise) const;
  bool boolean(const std::string& option, bool otherwise) const;
  std::string choice(const std::string& option, const std::string& otherwise,
                     const std::vector<std::string>& choices) const;
  /// One integer for all axes, or one for each.
  Extent extent(const std::string& option, const Extent& otherwise, int64_t least) const;
  Extent required_extent(const std::string& option, size_t axes, int64_t least) const;
  std::vector<int64_t> required_integers(const std::string& option) const;
  /// One name in quotes; absent: "".
  std::string name_of(const std::string& option) const;
  /// One name in quotes, or a list of them; absent: none.
  std::vector<std::string> names_of(const std::string& option) const;

 private:
  const OptionValue* find(const std::string& option) const;
  double any_number(const std::string& option, const std::string& expected) const;
  [[noreturn]] void missing(const std::string& option, const std::string& expected) const;
  [[noreturn]] void wrong(const std::string& option, const std::string& expected) const;

  const LayerSpec& layer_;
  std::string name_;
};

/// An option's value as the deck would write it.
std::string option_text(const OptionValue& value);

}  // namespace lepton::model
