// SPDX-License-Identifier: Apache-2.0
// Rows to columns, out of place. Called by reshape and attention.
#pragma once

#include <cstdint>

namespace lepton::ops {

/// to[c, r] = from[r, c]; rows of `from` begin `row` elements apart, those of `to` lie side by side.
void transpose(int64_t rows, int64_t columns, const float* from, int64_t row, float* to);

}  // namespace lepton::ops
