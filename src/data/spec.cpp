// SPDX-License-Identifier: Apache-2.0
// Names of splits, as decks, log lines and errors write them, and what holds for an input of a name.
#include "data/spec.h"

namespace lepton::data {

const char* split_name(SplitKind kind) {
  return kind == SplitKind::train ? "train" : kind == SplitKind::validation ? "validation" : "test";
}

InputRules DataSpec::rules(const std::string& input) const {
  InputRules rules{layout, normalisation, length, transforms};
  for (const InputSpec& own : inputs)
    if (own.name == input)
      rules = {own.layout.value_or(layout), own.normalisation.value_or(normalisation),
               own.length.value_or(length), own.transforms.value_or(transforms)};
  return rules;
}

std::vector<TargetRules> DataSpec::target_rules() const {
  if (!targets.empty()) return targets;
  return {{"", target_kind, classes, needs_classes, target_range, ignored_class}};
}

}  // namespace lepton::data
