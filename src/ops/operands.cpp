// SPDX-License-Identifier: Apache-2.0
// See the header. The sum is elementwise over columns, in an order that is written out, so that every clone
// gives the same bits. Called by matmul and conv.
#include "ops/operands.h"

#include "base/simd.h"

namespace lepton::ops {

LEPTON_SIMD void sum_rows(int64_t rows, int64_t columns, const float* z, float* sum) {
  for (int64_t c = 0; c < columns; ++c) sum[c] = z[c];
  for (int64_t r = 1; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) sum[c] += z[r * columns + c];
}

}  // namespace lepton::ops
