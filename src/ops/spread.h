// SPDX-License-Identifier: Apache-2.0
// Expand and the Reduce operators: each other's transposes. Both are a Broadcast of a small array over a
// large one: Expand reads the small one, ReduceSum sums into it. Shapes here are shared with the CUDA twin.
#pragma once

#include "ops/broadcast.h"

namespace lepton::ops {

/// Of Expand: operand 0 is the input; of ReduceX: operand 0 is the output, the large array the input.
Broadcast spread_of(const OpSpec& spec);

}  // namespace lepton::ops
