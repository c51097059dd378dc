// SPDX-License-Identifier: Apache-2.0
// The CUDA engine: backend (kernels/backend.h), arithmetic and step mathematics of one device. Made by
// kernels/module.cu.
#pragma once

#include <string>

#include "ops/engine.h"
#include "ops/precision.h"

namespace lepton::cuda {

/// Binds the calling thread to device `index`. Throws Error(no_device, software).
ops::Engine open_engine(int index, ops::Precision precision);

/// "cuBLASLt 13.1.0, cuDNN 9.14.0".
std::string library_versions();

}  // namespace lepton::cuda
