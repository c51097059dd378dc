// SPDX-License-Identifier: Apache-2.0
// The geometry of a MatMul of two values: matrices [M, K] x [K, N] of each sample, whose leading dimensions
// are broadcast. Shared with the CUDA twin.
#pragma once

#include "ops/broadcast.h"

namespace lepton::ops {

struct ProductShape {
  int64_t rows = 0, inner = 0, columns = 0;
  Broadcast matrices;  ///< matrices of the result over those of operands 0 and 1
  explicit ProductShape(const OpSpec& spec);
};

}  // namespace lepton::ops
