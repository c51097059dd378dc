// SPDX-License-Identifier: Apache-2.0
// The search for Inf and NaN, for diagnosis. Called by kernels/engine.cu.
#pragma once

#include "kernels/context.h"

namespace lepton::cuda {

/// *found becomes 1 if one of the values is Inf or NaN; else it stays.
void find_non_finite(const Context& context, const float* values, int64_t count, uint32_t* found);

}  // namespace lepton::cuda
