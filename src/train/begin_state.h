// SPDX-License-Identifier: Apache-2.0
// The state in which a run begins or goes on: from a checkpoint, from memory, from another run's parameters,
// or from initial values and the weights of a file. Called by the command `train` when nothing else can be
// refused any more.
#pragma once

#include "train/job.h"
#include "train/resume.h"

namespace lepton::train {

/// **Collective.** Fills slot 0 of the node's state with parameters and moments, hashes it, and returns the
/// small state. What the run's initial weights were is noted in `beginning`; throws Error(data) where a run
/// that was begun, but has no state yet, would now begin with others.
RunState begin_state(Job& job, Beginning& beginning);

}  // namespace lepton::train
