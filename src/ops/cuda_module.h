// SPDX-License-Identifier: Apache-2.0
// The CUDA module: liblepton_cuda.so (kernels/ and the libraries it needs), loaded at run time, so that one
// program serves machines with and without CUDA libraries, driver or device. What is missing is said in a
// sentence, never an error by itself: the caller decides whether it matters. Called by train/devices and
// main.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/engine.h"
#include "ops/precision.h"
#include "tensor/device_group.h"

namespace lepton::ops {

/// What the module exports, as a C function `lepton_cuda_module` that returns it. Built from the same sources
/// as the program, with the same compiler: `version` says so.
struct CudaModule {
  const char* version;         ///< the program's that it was built with
  std::string (*libraries)();  ///< "CUDA 13.0, cuBLASLt 13.1.0, cuDNN 9.14.0, NCCL 2.28.3"
  std::vector<std::string> (*devices)(std::string& absence);  ///< their UUIDs; none: why
  Engine (*open)(int index, Precision precision);
  /// "NCCL 2.28.3", or "" and why there is none. Then the other two must not be called.
  std::string (*nccl)(std::string& absence);
  /// Made by one node, given to all that join() a group: **collective** over them, in the thread that opened
  /// the engine. Throws DeadlineError.
  std::string (*group_id)();
  std::unique_ptr<DeviceGroup> (*join)(Engine& engine, const std::string& id, int node, int nodes,
                                       double deadline_s);
};

/// Loaded at the first call, from the program's own directory, from ../lib/lepton beside it, or from where
/// LEPTON_CUDA_MODULE says. Null where it is not there or cannot be loaded.
const CudaModule* cuda_module();
/// The UUIDs of the devices that this process can use; none: `absence` says why. Loads nothing where there is
/// no driver.
std::vector<std::string> cuda_devices(std::string& absence);
/// For --version: the module's libraries, or "no CUDA: " and why.
std::string cuda_version();

}  // namespace lepton::ops
