// SPDX-License-Identifier: Apache-2.0
// Sums over the rows of a block of threads, in an order that depends on the block's shape alone: the first
// stage's end and the second stage of deterministic column sums. Used by batch_norm.cu and layer_norm.cu.
#pragma once

#include "kernels/context.h"

namespace lepton::cuda {

/// Adds up a and b over the threads of a block (`threads` of them at most) that have the same threadIdx.x;
/// the sums are those of threadIdx.y == 0. Every thread of the block calls it.
template <int count>
__device__ void fold_team(double (&a)[count], double (&b)[count]) {
  __shared__ double parts[2 * count][threads];
  const unsigned lanes = blockDim.x, me = threadIdx.y * lanes + threadIdx.x;
  for (int k = 0; k < count; ++k) {
    parts[k][me] = a[k];
    parts[count + k][me] = b[k];
  }
  __syncthreads();
  for (unsigned live = blockDim.y; live > 1;) {
    const unsigned half = (live + 1) / 2;
    if (threadIdx.y + half < live)
      for (int k = 0; k < 2 * count; ++k) parts[k][me] += parts[k][me + half * lanes];
    __syncthreads();
    live = half;
  }
  for (int k = 0; k < count; ++k) {
    a[k] = parts[k][me];
    b[k] = parts[count + k][me];
  }
}

}  // namespace lepton::cuda
