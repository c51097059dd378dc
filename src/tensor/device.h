// SPDX-License-Identifier: Apache-2.0
// Where memory lies. Today the host; the CUDA device and the host-memory debug device join here, and nothing
// above this folder asks which library allocates. Callers: every module that owns numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lepton {

enum class DeviceKind { cpu };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

}  // namespace lepton
