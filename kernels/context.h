// SPDX-License-Identifier: Apache-2.0
// Context: what every kernel launch and library call of one engine stands on: a stream, the handles of the
// libraries, the type of products. Made by kernels/engine.cu; used by every file of this folder.
//
// The rules of this folder. One .cu per op, with the stem of its twin in src/ops, whose semantics it has:
// shapes, layouts (activations nhwc, float32), `=` throughout, what is saved for backward. Mathematics of one
// element is not written twice: it comes from the __host__ __device__ functions of src/ops (math.h,
// activation_math.h, loss_math.h, update_math.h, ...). Compiled with -fmad=false, so bits of elementwise
// work are the host's. Deterministic: no float atomics, every sum in an order that depends on shapes alone.
// Everything is enqueued on context.stream and may be recorded (CUDA graphs): no allocation, no host-side
// synchronisation and no host memory in a run. Launches are followed by check_launch().
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "ops/precision.h"

struct cublasLtContext;
struct cudnnContext;

namespace lepton::cuda {

struct Context {
  cudaStream_t stream = nullptr;
  cublasLtContext* blas = nullptr;  ///< a cublasLtHandle_t (kernels/libraries.h)
  cudnnContext* dnn = nullptr;      ///< a cudnnHandle_t, bound to the stream
  ops::Precision precision = ops::Precision::fp32;
  int multiprocessors = 1;
};

/// Throws Error(software) that names the call and CUDA's own text.
void check(cudaError_t status, const char* call);
/// For the launch before it.
void check_launch(const char* kernel);

constexpr int threads = 256;  ///< of a block, where a kernel has no reason for another number
constexpr int warp = 32, warps = threads / warp;
constexpr unsigned all_lanes = 0xffffffffu;

/// Blocks of `threads` that cover `count` elements.
inline unsigned blocks_for(int64_t count, int threads) {
  return static_cast<unsigned>((count + threads - 1) / threads);
}

}  // namespace lepton::cuda
