// SPDX-License-Identifier: Apache-2.0
// Initial values of all parameters: a pure function of (seed, graph), made on the CPU. He et al. 2015, Glorot
// and Bengio 2010; running means 0, running variances 1; biases 0.
#pragma once

#include <cstdint>
#include <span>

#include "model/graph.h"

namespace lepton::model {

/// **Local.** Writes arena elements of tensors [first, last) into `arena` (the whole arena's span; padding
/// 0). Tensors are independent, so threads may share the work.
void initialise(const Graph& graph, uint64_t seed, int first, int last, std::span<float> arena);

}  // namespace lepton::model
