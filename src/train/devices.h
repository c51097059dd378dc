// SPDX-License-Identifier: Apache-2.0
// Which device a rank computes on: decided from the deck and the ranks of each host before nodes are formed,
// because a rank with a device is a node of its own; then opened, and joined with the other nodes' devices.
// Rank i of a host takes device i, or the one that the launcher left to it; in turn where they share. Called
// by main (for nodes), job and check.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/world.h"
#include "ops/engine.h"
#include "tensor/device_group.h"
#include "train/deck.h"

namespace lepton::train {

struct DeviceChoice {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;          ///< as this process counts
  bool shared = false;    ///< other ranks compute on it, too
  std::string note = {};  ///< why a rank that might have one computes on the CPU; a clause or ""
};

/// What a rank sees of a kind: all of its host's, or those that the launcher left to it.
struct DevicesHere {
  std::vector<std::string> ids;  ///< names that no two devices of a host have in common
  std::string absence;           ///< why there are none
};

/// What a deck says of devices.
struct DeviceWish {
  DeviceKind kind = DeviceKind::cpu;
  bool automatic = false;  ///< the CPU where there is none
  bool share = false;      ///< ranks of a host may share one
  bool mixed = false;      ///< and those without one may compute on the CPU (balance.classes)
};

/// A pure function, for tests, of what all ranks of a host see: rank `host_rank`'s choice. In their order
/// they take the first that no rank before them has. Throws Error(no_device) when the deck demands what is
/// not there, and when there are more ranks than devices and they shall neither share nor go without.
DeviceChoice choose(const DeviceWish& wish, std::span<const DevicesHere> of_host, size_t host_rank,
                    const std::string& place);

/// **Collective.** The same, agreed.
DeviceChoice choose_device(const comm::World& world, const Deck& deck);

/// **Collective.** How this node's device exchanges sums and parameters with the other nodes, by
/// train.device_sums; null: by the host. Throws Error(no_device) where the deck demands what cannot be,
/// Error(software) from NCCL, DeadlineError.
std::unique_ptr<DeviceGroup> join_devices(const comm::World& world, const Deck& deck,
                                          const DeviceChoice& choice, std::optional<ops::Engine>& engine);

/// **Local.** Nothing for the CPU. `host`: in what debug devices multiply, with the host's ops.
std::optional<ops::Engine> open_device(const Deck& deck, const DeviceChoice& choice, ops::Precision host);

}  // namespace lepton::train
