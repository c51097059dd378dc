// SPDX-License-Identifier: Apache-2.0
// Which device a rank computes on: decided from the deck and the ranks of each machine before nodes are
// formed, because a rank with a device is a node of its own; then opened. A rank i of a machine takes device
// i. Called by main (for nodes) and by job.
#pragma once

#include <optional>
#include <string>

#include "comm/world.h"
#include "ops/engine.h"
#include "train/deck.h"

namespace lepton::train {

struct DeviceChoice {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  std::string note;  ///< why "auto" chose no device; a sentence or ""
};

/// What this machine has of a kind, as far as this process can see.
struct DevicesHere {
  int count = 0;
  std::string absence;  ///< why there are none
};

/// A pure function, for tests: `machine_rank` of `machine_size` ranks on this machine. Throws
/// Error(no_device) when the deck demands what is not there, and when there are more ranks than devices and
/// they shall not share.
DeviceChoice choose(DeviceKind wanted, bool automatic, bool share, const DevicesHere& here, int machine_rank,
                    int machine_size, const std::string& place);

/// **Collective.** The same, agreed.
DeviceChoice choose_device(const comm::World& world, const Deck& deck);

/// **Local.** Nothing for the CPU. `host`: in what debug devices multiply, with the host's ops.
std::optional<ops::Engine> open_device(const Deck& deck, const DeviceChoice& choice, ops::Precision host);

}  // namespace lepton::train
