// SPDX-License-Identifier: Apache-2.0
// Arrays of counter-based random numbers: initial values. Made on the CPU, whatever computes later.
#pragma once

#include <cstdint>
#include <span>

namespace lepton::ops {

/// Uniform in [-limit, limit), element i from Philox counter {i/4, 0, 0, 0}.
void fill_uniform(std::span<float> out, uint64_t key, float limit);
/// Normal by Box and Muller 1958 with ops/math.h's own log, sin and cos: the same bits everywhere.
void fill_normal(std::span<float> out, uint64_t key, float mean, float deviation);

}  // namespace lepton::ops
