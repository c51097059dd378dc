// SPDX-License-Identifier: Apache-2.0
// Where memory lies and work is done. The host computes by itself (cpu); other devices stand behind a Backend
// (tensor/backend.h): CUDA's, and the debug device, which is host memory that nobody may touch outside its
// work. Nothing above this folder asks which library allocates. Callers: every module that owns numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lepton {

class Backend;

enum class DeviceKind { cpu, debug, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  Backend* backend = nullptr;  ///< null for the host
  bool operator==(const Device&) const = default;
};

}  // namespace lepton
