// SPDX-License-Identifier: Apache-2.0
// Indices of a Broadcast on the device: from an element of the large array to an operand's, and from an
// operand's element to all of the large array that it serves. Also a block's sum in an order that depends on
// the block alone. Used by elementwise.cu and spread.cu.
#pragma once

#include "kernels/pack.h"
#include "ops/activation_math.h"
#include "ops/broadcast.h"

namespace lepton::cuda {

/// Where operand k lies for element i of the large array.
__device__ inline int64_t place_of(const ops::Broadcast& b, int k, int64_t i) {
  int64_t place = 0;
#pragma unroll  // so that the arrays are parameters, not memory
  for (int d = ops::broadcast_most - 1; d >= 0; --d) {
    if (d >= b.dimensions) continue;
    const int64_t next = i / b.size[d];
    place += (i - next * b.size[d]) * b.step[k][d];
    i = next;
  }
  return place;
}

/// An element of an operand, by its number: where it lies, and the first of the large array that it serves.
struct Origin {
  int64_t own = 0, large = 0;
};
__device__ inline Origin origin_of(const ops::Broadcast& b, int k, int64_t number) {
  Origin origin;
  int64_t step = 1;
#pragma unroll
  for (int d = ops::broadcast_most - 1; d >= 0; --d) {
    if (d >= b.dimensions) continue;
    if (b.step[k][d] != 0) {
      const int64_t next = number / b.size[d], index = number - next * b.size[d];
      origin.own += index * b.step[k][d];
      origin.large += index * step;
      number = next;
    }
    step *= b.size[d];
  }
  return origin;
}

/// How far behind the first the j-th of these lies: in order of memory.
__device__ inline int64_t share_of(const ops::Broadcast& b, int k, int64_t j) {
  int64_t place = 0, step = 1;
#pragma unroll
  for (int d = ops::broadcast_most - 1; d >= 0; --d) {
    if (d >= b.dimensions) continue;
    if (b.step[k][d] == 0) {
      const int64_t next = j / b.size[d];
      place += (j - next * b.size[d]) * step;
      j = next;
    }
    step *= b.size[d];
  }
  return place;
}

/// The sum over a block's threads, for thread 0. Every thread calls it.
template <int threads>
__device__ double sum_of_block(double value) {
  __shared__ double parts[threads];
  __syncthreads();  // those of the call before have been read
  parts[threadIdx.x] = value;
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    __syncthreads();
  }
  return parts[0];
}

/// A block for each of so many sums, within reason.
inline unsigned grid_of_sums(const Context& context, int64_t sums) {
  return static_cast<unsigned>(std::min<int64_t>(sums, 64 * context.multiprocessors));
}

}  // namespace lepton::cuda
