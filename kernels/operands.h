// SPDX-License-Identifier: Apache-2.0
// What products need whichever library computes them (cuBLASLt in matmul.cu, cuDNN in conv.cu): operands
// rounded to bfloat16 where the precision is bf16, and the library's workspace inside an op's scratch.
// Rounding is to nearest even; a NaN stays one, beyond the largest finite number comes Inf.
#pragma once

#include <cuda_bf16.h>

#include "kernels/context.h"
#include "ops/operators.h"

namespace lepton::cuda {

using Bfloat16 = __nv_bfloat16;

/// y = x rounded. Both begin on 16 bytes.
void narrow(const Context&, int64_t count, const float* x, Bfloat16* y);
/// y = x, exactly. Both begin on 16 bytes.
void widen(const Context&, int64_t count, const Bfloat16* x, float* y);

inline Bfloat16* bfloat16_at(std::byte* base, size_t offset) {
  return reinterpret_cast<Bfloat16*>(base + offset);
}

/// Work memory of a library. The libraries want it on 256 bytes, scratch begins on 64.
class Workspace {
 public:
  void place(ops::MemoryPlan& memory, size_t bytes) { offset_ = memory.add(bytes ? bytes + alignment : 0); }
  std::byte* at(std::byte* scratch) const {
    const auto address = reinterpret_cast<uintptr_t>(scratch + offset_);
    return scratch + offset_ + (alignment - address % alignment) % alignment;
  }

 private:
  static constexpr size_t alignment = 256;
  size_t offset_ = 0;
};

}  // namespace lepton::cuda
