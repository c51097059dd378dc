// SPDX-License-Identifier: Apache-2.0
// What the leaders of nodes send each other at the end of a step (DESIGN section 4.4): (b) the sums, reduced
// and scattered, so that each node holds those of its slice; (e) the new parameters, gathered. Both carry
// checksums: those of the sums are added up with them and verified by all threads afterwards (train/phases),
// those of the parameters are verified here. With one node there is nothing to do. Called by conductor.
#pragma once

#include "comm/reduction.h"
#include "exact/slices.h"
#include "tensor/device_group.h"
#include "train/node_state.h"

namespace lepton::train {

class NodeExchange {
 public:
  virtual ~NodeExchange() = default;
  /// **Collective over the leaders.** Sums and their checksums. Each passes failpoint "reduce".
  virtual void reduce_sums(const Poll& poll) = 0;
  /// **Collective over the leaders.** Parameters and their blocks' hashes of slot `slot`, written by their
  /// owners. Throws Error(io) naming the node whose bytes do not give their hash. Failpoint "gather".
  virtual void gather_parameters(int slot, const Poll& poll) = 0;
};

/// Of what lies on the host.
class HostExchange : public NodeExchange {
 public:
  HostExchange(const comm::World& world, const exact::Slices& slices, NodeState& node)
      : reduction_(world), slices_(slices), node_(node) {}

  void reduce_sums(const Poll& poll) override;
  void gather_parameters(int slot, const Poll& poll) override;

 private:
  comm::LeaderReduction reduction_;
  const exact::Slices& slices_;
  NodeState& node_;
};

/// Throws where a block of the parameters that came from node `owner` does not give its hash.
void require_gathered(bool equal, int64_t block, size_t owner);

}  // namespace lepton::train
