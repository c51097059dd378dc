// SPDX-License-Identifier: Apache-2.0
// An update rule in which every number matters, for the tests of updates on the host and on devices.
#pragma once

#include "ops/update_rule.h"

namespace lepton::ops::testing {

inline UpdateRule rule_of(UpdateKind kind) {
  return {.kind = kind,
          .sgd = {0.1f, 0.9f, 0.03f, true},
          .adam = {0.9f, 0.1f, 0.99f, 0.01f, 1e-6f, 0.01f, 1.5f, 0.04f, 0.95f},
          .weight = 3,
          .samples = 5,
          .clip_factor = 0.7f,
          .clip_value = 0.2f,
          .statistics_momentum = 0.8f};
}

}  // namespace lepton::ops::testing
