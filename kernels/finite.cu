// SPDX-License-Identifier: Apache-2.0
// See finite.h. Every thread that finds one writes the same word.
#include "kernels/finite.h"

namespace lepton::cuda {

namespace {

__global__ void find_kernel(const float* values, int64_t count, uint32_t* found) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    if (!isfinite(values[i])) *found = 1;
}

}  // namespace

void find_non_finite(const Context& context, const float* values, int64_t count, uint32_t* found) {
  if (count == 0) return;
  const unsigned blocks = min(blocks_for(count, threads), static_cast<unsigned>(8 * context.multiprocessors));
  find_kernel<<<blocks, threads, 0, context.stream>>>(values, count, found);
  check_launch("find_non_finite");
}

}  // namespace lepton::cuda
