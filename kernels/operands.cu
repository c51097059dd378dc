// SPDX-License-Identifier: Apache-2.0
// Conversion of whole arrays between float32 and bfloat16 (see operands.h): four elements a thread, 16 bytes
// on the one side and 8 on the other, and the last few one by one. Bound by memory alone.
#include "kernels/operands.h"

namespace lepton::cuda {

namespace {

/// Four numbers as they lie in memory, for one access.
struct alignas(8) FourBfloat16 {
  Bfloat16 element[4];
};
struct alignas(16) FourFloat {
  float element[4];
};

__global__ void __launch_bounds__(threads) narrow_elements(int64_t count, const float* x, Bfloat16* y) {
  const int64_t first = (int64_t{blockIdx.x} * threads + threadIdx.x) * 4;
  if (first + 4 <= count) {
    const FourFloat from = *reinterpret_cast<const FourFloat*>(x + first);
    FourBfloat16 to;
    for (int k = 0; k < 4; ++k) to.element[k] = __float2bfloat16_rn(from.element[k]);
    *reinterpret_cast<FourBfloat16*>(y + first) = to;
  } else {
    for (int64_t i = first; i < count; ++i) y[i] = __float2bfloat16_rn(x[i]);
  }
}

__global__ void __launch_bounds__(threads) widen_elements(int64_t count, const Bfloat16* x, float* y) {
  const int64_t first = (int64_t{blockIdx.x} * threads + threadIdx.x) * 4;
  if (first + 4 <= count) {
    const FourBfloat16 from = *reinterpret_cast<const FourBfloat16*>(x + first);
    FourFloat to;
    for (int k = 0; k < 4; ++k) to.element[k] = __bfloat162float(from.element[k]);
    *reinterpret_cast<FourFloat*>(y + first) = to;
  } else {
    for (int64_t i = first; i < count; ++i) y[i] = __bfloat162float(x[i]);
  }
}

}  // namespace

void narrow(const Context& context, int64_t count, const float* x, Bfloat16* y) {
  narrow_elements<<<blocks_for(count, 4 * threads), threads, 0, context.stream>>>(count, x, y);
  check_launch("narrow");
}

void widen(const Context& context, int64_t count, const Bfloat16* x, float* y) {
  widen_elements<<<blocks_for(count, 4 * threads), threads, 0, context.stream>>>(count, x, y);
  check_launch("widen");
}

}  // namespace lepton::cuda
