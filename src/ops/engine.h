// SPDX-License-Identifier: Apache-2.0
// Engine: a device that trains: its memory and queues, one queue on which all mathematics is done, and the
// mathematics. Opened once per rank, by train.
#pragma once

#include <memory>
#include <string>

#include "ops/arithmetic.h"
#include "ops/step_math.h"
#include "tensor/backend.h"

namespace lepton::ops {

/// Members are destroyed from the last to the first; whoever has memory of the backend goes before.
struct Engine {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Queue> queue;
  std::unique_ptr<Arithmetic> arithmetic;
  std::unique_ptr<StepMath> step_math;
  std::string libraries;  ///< "oneDNN 2.6.3", "cuBLAS 13.1.0, cuDNN 9.14.0": part of the arithmetic class

  Device device() const { return arithmetic->device(); }
};

}  // namespace lepton::ops
