// SPDX-License-Identifier: Apache-2.0
// Offsets by liveness; see the header. Quadratic in the number of ranges, a few hundred for deep networks.
#include "model/memory_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace lepton::model {

namespace {

constexpr size_t alignment = 64;

size_t aligned(size_t bytes) {
  return (bytes + alignment - 1) / alignment * alignment;
}

bool live_together(const LiveRange& a, const LiveRange& b) {
  return a.begin <= b.end && b.begin <= a.end;
}

/// Taken spans of the buffer, ascending by offset; returns the tightest gap that holds `bytes`, or the end.
size_t tightest_gap(const std::vector<std::pair<size_t, size_t>>& taken, size_t bytes) {
  size_t best = 0, best_gap = std::numeric_limits<size_t>::max(), end = 0;
  for (const auto& [begin, stop] : taken) {
    if (begin > end && begin - end >= bytes && begin - end < best_gap) {
      best = end;
      best_gap = begin - end;
    }
    end = std::max(end, stop);
  }
  return best_gap == std::numeric_limits<size_t>::max() ? end : best;
}

}  // namespace

MemoryPlan plan_memory(std::span<const LiveRange> ranges) {
  MemoryPlan plan;
  plan.offsets.assign(ranges.size(), 0);
  std::vector<size_t> order(ranges.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return ranges[a].bytes > ranges[b].bytes; });
  std::vector<std::pair<size_t, size_t>> taken;
  for (size_t placed = 0; placed < order.size(); ++placed) {
    const LiveRange& range = ranges[order[placed]];
    CHECK(range.begin <= range.end, "a live range must not end before it begins");
    taken.clear();
    for (size_t k = 0; k < placed; ++k)
      if (live_together(range, ranges[order[k]]))
        taken.emplace_back(plan.offsets[order[k]], plan.offsets[order[k]] + aligned(ranges[order[k]].bytes));
    std::sort(taken.begin(), taken.end());
    const size_t offset = tightest_gap(taken, aligned(range.bytes));
    plan.offsets[order[placed]] = offset;
    plan.bytes = std::max(plan.bytes, offset + aligned(range.bytes));
  }
  return plan;
}

}  // namespace lepton::model
