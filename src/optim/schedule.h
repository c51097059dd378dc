// SPDX-License-Identifier: Apache-2.0
// The learning rate as a pure function of the step. Cosine: Loshchilov and Hutter 2017 (one cycle, no
// restarts).
#pragma once

#include <cstdint>

#include "optim/spec.h"

namespace lepton::optim {

/// The rate of update `step` (the first update is 1). `steps` of the schedule must have been resolved (> 0)
/// for cosine and polynomial. Warm-up: rate * step / warmup_steps up to warmup_steps.
double learning_rate(const OptimizerSpec& spec, int64_t step);

}  // namespace lepton::optim
