// SPDX-License-Identifier: Apache-2.0
// Classes: which ranks compute alike, and what a job does whose ranks do not (DESIGN section 1.9 and 1.10):
// refuse, give each class its fixed share of every step, or let units go anywhere. The run's arithmetic class
// follows from it and is what a restart is compared with. Called by job in every rank.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/world.h"
#include "model/graph.h"
#include "train/deck.h"
#include "train/device_state.h"
#include "train/host_math.h"

namespace lepton::train {

struct Classes {
  std::string arithmetic;            ///< of the run; "free" where units go anywhere
  std::vector<std::string> members;  ///< what its ranks are, each once, in their order
  std::vector<int> of_node;          ///< 0 where all nodes take any unit
  std::vector<int64_t> shares;       ///< by class
};

/// **Local.** What this rank computes with: "cpu avx512 oneDNN 2.6.3 0123456789abcdef": device, instruction
/// set ("avx512_bf16": products in bf16), library, and the hash of what the planned primitives give on a
/// fixed unit with these parameters. With a device: its name and libraries instead.
std::string rank_class(const Deck& deck, const model::Graph& graph, const HostMath& host,
                       std::span<const float> parameters, DeviceState* device);

/// A pure function, for tests, of all ranks' classes and nodes. Throws Error(deck) where ranks differ and may
/// not, or where a rank has no share; Error(no_device) where a share has no rank.
Classes sort_classes(const Deck& deck, std::span<const std::string> of_rank,
                     std::span<const int> node_of_rank);

/// **Collective.** The same, agreed. `parameters` is scratch of arena size, shared by the node.
Classes settle_classes(const comm::World& world, const Deck& deck, const model::Graph& graph,
                       const HostMath& host, std::span<float> parameters, DeviceState* device);

/// Nodes that take any unit: where bits are nobody's promise (evaluation of a finished model).
Classes one_class(int nodes);

}  // namespace lepton::train
