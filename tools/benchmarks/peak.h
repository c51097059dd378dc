// SPDX-License-Identifier: Apache-2.0
// The float32 FMA rate of one core, measured once per program: what products and convolutions are shares of.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace lepton::benchmarks {

/// Billions of float32 operations a second of one core (an FMA is two); the best of 20 short trials.
double fma_gflops();

}  // namespace lepton::benchmarks
