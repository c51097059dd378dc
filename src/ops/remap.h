// SPDX-License-Identifier: Apache-2.0
// Remap: a Slice, Pad or Resize as one rule for each axis of memory, samples included; axes that stay as they
// are joined with their neighbours. Used by remap.cpp and its twin, which get it by value.
#pragma once

#include "ops/axis_rule.h"
#include "ops/operators.h"

namespace lepton::ops {

constexpr int remapped_most = 6;  ///< axes, after joining

struct Remap {
  int axes = 0;  ///< outermost first
  AxisRule rule[remapped_most];
  float value = 0;  ///< of what a Pad adds
  int64_t in_count = 1, out_count = 1;
};

/// A rule for each axis of a sample, in ONNX order. Throws Error(deck).
std::vector<AxisRule> axis_rules(const OpSpec& spec);
Remap remap_of(const OpSpec& spec);

}  // namespace lepton::ops
