// SPDX-License-Identifier: Apache-2.0
// Which device a rank computes on: decided from the deck and the ranks of each machine before nodes are
// formed, because a rank with a device is a node of its own; then opened. A rank i of a machine takes device
// i. Called by main (for nodes) and by job.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "comm/world.h"
#include "ops/engine.h"
#include "tensor/device_group.h"
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

/// What a deck says of devices.
struct DeviceWish {
  DeviceKind kind = DeviceKind::cpu;
  bool automatic = false;  ///< the CPU where there is none
  bool share = false;      ///< a machine may have more ranks than devices
  bool mixed = false;      ///< and those without one may compute on the CPU (balance.classes)
};

/// A pure function, for tests: `host_rank` of `host_size` ranks on this machine. Throws
/// Error(no_device) when the deck demands what is not there, and when there are more ranks than devices and
/// they shall neither share nor go without.
DeviceChoice choose(const DeviceWish& wish, const DevicesHere& here, int host_rank, int host_size,
                    const std::string& place);

/// **Collective.** The same, agreed.
DeviceChoice choose_device(const comm::World& world, const Deck& deck);

/// **Collective.** How this node's device exchanges sums and parameters with the other nodes, by
/// train.device_sums; null: by the host. Throws Error(no_device, deck) where the deck demands what cannot be,
/// DeadlineError.
std::unique_ptr<DeviceGroup> join_devices(const comm::World& world, const Deck& deck,
                                          const DeviceChoice& choice, std::optional<ops::Engine>& engine);

/// **Local.** Nothing for the CPU. `host`: in what debug devices multiply, with the host's ops.
std::optional<ops::Engine> open_device(const Deck& deck, const DeviceChoice& choice, ops::Precision host);

}  // namespace lepton::train
