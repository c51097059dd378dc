// SPDX-License-Identifier: Apache-2.0
// Arithmetic: what the executor needs of the device that it runs on. The host's does things at once; those of
// other devices enqueue them (tensor/backend.h), and pointers are the device's. Implementations:
// host_arithmetic (arithmetic.cpp), ops/debug_engine, kernels/.
#pragma once

#include <cstdint>
#include <memory>

#include "ops/op.h"
#include "tensor/device.h"

namespace lepton::ops {

class Arithmetic {
 public:
  virtual ~Arithmetic() = default;
  /// Where all memory lies that it is handed.
  virtual Device device() const = 0;
  /// Plans an op, as ops::make_op does for the host.
  virtual std::unique_ptr<Op> make_op(const OpSpec& spec) = 0;
  /// into[i] += from[i]; no overlap.
  virtual void add(float* into, const float* from, int64_t count) = 0;
  /// Whether none of the values is Inf or NaN; waits for what was enqueued before. For diagnosis.
  virtual bool all_finite(const float* values, int64_t count) = 0;
};

/// The calling thread's own: oneDNN and the loops of this folder; products in fp32 or bf16.
Arithmetic& host_arithmetic(Precision precision = Precision::fp32);

}  // namespace lepton::ops
