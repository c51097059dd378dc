// SPDX-License-Identifier: Apache-2.0
// What the leaders of nodes send each other at the end of a step (DESIGN section 4.4): (b) the sums, reduced
// and scattered, so that each node holds those of its slice; (e) the new parameters, gathered. Both carry
// checksums: those of the sums are added up with them and verified by all threads afterwards (train/phases),
// those of the parameters are verified here. With one node there is nothing to do. Called by conductor.
#pragma once

#include <functional>

#include "comm/reduction.h"
#include "exact/slices.h"
#include "train/node_state.h"

namespace lepton::train {

/// **Collective over the leaders.** Sums and their checksums.
void reduce_sums(comm::LeaderReduction& reduction, const exact::Slices& slices, NodeState& node,
                 const std::function<void()>& poll);

/// **Collective over the leaders.** Parameters and their blocks' hashes of slot `slot`, written by their
/// owners. Throws Error(io) naming the node whose bytes do not give their hash. Failpoint "gather".
void gather_parameters(comm::LeaderReduction& reduction, const exact::Slices& slices, NodeState& node,
                       int slot, const std::function<void()>& poll);

}  // namespace lepton::train
