// SPDX-License-Identifier: Apache-2.0
// In tiles that stay in the first-level cache; see the header.
#include "ops/transpose.h"

#include <algorithm>

#include "base/simd.h"

namespace lepton::ops {

LEPTON_SIMD void transpose(int64_t rows, int64_t columns, const float* from, int64_t row, float* to) {
  constexpr int64_t tile = 16;
  for (int64_t r0 = 0; r0 < rows; r0 += tile)
    for (int64_t c0 = 0; c0 < columns; c0 += tile) {
      const int64_t r1 = std::min(rows, r0 + tile), c1 = std::min(columns, c0 + tile);
      for (int64_t c = c0; c < c1; ++c)
        for (int64_t r = r0; r < r1; ++r) to[c * rows + r] = from[r * row + c];
    }
}

}  // namespace lepton::ops
