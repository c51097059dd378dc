// SPDX-License-Identifier: Apache-2.0
// How long a sample's sequence is: operators over sequences may take it as one more input, a number in
// float32 for each sample. Plain arithmetic that host and CUDA share. Called by recurrent, attention and
// global_pool.
#pragma once

#include <cstdint>

#include "base/philox.h"

namespace lepton::ops {

/// Of a sample, from what its input holds: a whole number in [0, steps].
LEPTON_HD inline int64_t sequence_length(float length, int64_t steps) {
  if (!(length > 0)) return 0;  // NaN, too
  return length < static_cast<float>(steps) ? static_cast<int64_t>(length) : steps;
}

}  // namespace lepton::ops
