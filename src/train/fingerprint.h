// SPDX-License-Identifier: Apache-2.0
// Fingerprint: the hash of what the planned ops give on one fixed unit with fixed parameters, scores and all
// gradients: part of the arithmetic class (DESIGN section 1.9). Two ranks with one fingerprint compute alike.
// Called by classes in every rank.
#pragma once

#include <cstdint>
#include <span>

#include "model/graph.h"
#include "train/device_state.h"

namespace lepton::train {

/// On the CPU, of a unit of so many samples.
uint64_t fingerprint(const model::Graph& graph, int64_t samples, std::span<const float> parameters,
                     ops::Precision precision = ops::Precision::fp32);
/// On a device; `parameters` on the host.
uint64_t device_fingerprint(const model::Graph& graph, int64_t samples, std::span<const float> parameters,
                            DeviceState& device);

}  // namespace lepton::train
