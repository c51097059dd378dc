// SPDX-License-Identifier: Apache-2.0
// HostMath: what the ops of a rank's host compute with: the instruction set, and the type of products.
// Decided before the first op is planned, for all ranks alike. Called by job, predict and check.
#pragma once

#include <string>

#include "comm/world.h"
#include "ops/precision.h"
#include "tensor/device.h"
#include "train/deck.h"

namespace lepton::train {

struct HostMath {
  std::string instruction_set;  ///< effective; "avx512_bf16"
  /// Of products on the CPU, and on debug devices. CUDA's is the deck's.
  ops::Precision precision = ops::Precision::fp32;
  std::string refusal;  ///< why that is not the deck's, a clause; "": it is, or nothing is multiplied here
};

/// **Collective.** Caps the instruction set and prepares the calling thread. `device`: where this rank's
/// products are computed. If a CPU that would compute some lacks the deck's precision, all CPUs have fp32,
/// which rank 0 logs, or, where it is `required`, all ranks throw Error(deck) at model.precision. Throws
/// Error(deck) at run.isa, too.
HostMath prepare_host_math(const comm::World& world, const Deck& deck, DeviceKind device, bool required);

}  // namespace lepton::train
