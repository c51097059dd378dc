// SPDX-License-Identifier: Apache-2.0
// The geometry of GroupNormalization and InstanceNormalization (a group for each channel), channels last:
// what both and the CUDA twin need.
#pragma once

#include "ops/operators.h"

namespace lepton::ops {

struct GroupNormShape {
  int64_t samples = 0, pixels = 0, channels = 0, groups = 0;
  float epsilon = 0;
  explicit GroupNormShape(const OpSpec& spec);
  int64_t group_channels() const { return channels / groups; }
  int64_t group_elements() const { return pixels * group_channels(); }
};

}  // namespace lepton::ops
