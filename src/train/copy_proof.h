// SPDX-License-Identifier: Apache-2.0
// CopyProof: what a copy of a node's state must be, taken beside it and compared once the files are made from
// it, before they count: a bit that flips in memory between an update and the writing makes no checkpoint.
// Called by saving, on leaders.
#pragma once

#include <cstdint>
#include <vector>

#include "train/node_state.h"

namespace lepton::train {

class CopyProof {
 public:
  /// Of the current slot, as the update left it. Moments that lie on a device have no sums.
  explicit CopyProof(NodeState& node);
  /// **Any thread.** Throws Error(io) that names the first block which is not what it was.
  void require(const StateCopy& copy) const;

 private:
  std::vector<uint64_t> parameter_hashes_, moment_sums_;  ///< of the blocks of the slice
};

}  // namespace lepton::train
