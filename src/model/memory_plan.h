// SPDX-License-Identifier: Apache-2.0
// Where the arrays of a run lie in one buffer, when each is needed only for a while. Invariants: two ranges
// whose lives overlap never share a byte; every offset is a multiple of 64; the result is a function of the
// ranges alone. Called by model/plan for every unit size, before anything runs.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace lepton::model {

/// An array that must keep its bytes from time `begin` to time `end`, both included.
struct LiveRange {
  size_t bytes = 0;
  int begin = 0, end = 0;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  ///< one per range
  size_t bytes = 0;             ///< of the whole buffer
};

/// Greedy by size (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference"): the
/// largest range first, each into the tightest gap that the ranges living with it leave.
MemoryPlan plan_memory(std::span<const LiveRange> ranges);

}  // namespace lepton::model
