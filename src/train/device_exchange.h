// SPDX-License-Identifier: Apache-2.0
// DeviceExchange: the NodeExchange of a node whose device exchanges with the others by itself (DeviceGroup):
// sums and parameters stay in its memory; of the checksums and hashes that come with them the host gets to
// know. Main thread only. Made by job.
#pragma once

#include "exact/slices.h"
#include "train/device_state.h"
#include "train/node_exchange.h"

namespace lepton::train {

class DeviceExchange : public NodeExchange {
 public:
  DeviceExchange(DeviceState& state, const exact::Slices& slices, NodeState& node);

  void reduce_sums(const Poll& poll) override;
  void gather_parameters(int slot, const Poll& poll) override;

 private:
  DeviceState& state_;
  const exact::Slices& slices_;
  NodeState& node_;
  Buffer found_, hashes_;  // what the gathered parameters give, on the device; both kinds, pinned
};

}  // namespace lepton::train
