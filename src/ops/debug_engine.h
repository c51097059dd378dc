// SPDX-License-Identifier: Apache-2.0
// The engine of the debug device (tensor/debug_device.h): the host's mathematics, enqueued, on protected
// memory. Pointers are tested when work is enqueued. Its bits are the host's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/engine.h"

namespace lepton::ops {

/// `bytes_max` of device memory; `seed`: which work runs early; `precision`: fp32 or bf16.
Engine open_debug_engine(size_t bytes_max, uint64_t seed, Precision precision = Precision::fp32);

}  // namespace lepton::ops
