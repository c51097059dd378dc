// SPDX-License-Identifier: Apache-2.0
// The queue of a node: the units that it starts with, in node-shared memory; any compute thread of any rank
// of the node takes the next ones with an atomic. A started unit is never given away: unstarted ones are
// those behind `next`.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>

namespace lepton::balance {

/// Units begin, begin + 1, ... end - 1.
struct UnitRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool empty() const { return begin == end; }
  bool operator==(const UnitRange&) const = default;
};

/// Zeroed memory is a valid, empty queue.
struct alignas(64) UnitQueue {
  std::atomic<int64_t> next{0};
  UnitRange units;

  /// The leader, while no thread takes: these units are to be done.
  void fill(UnitRange range) {
    units = range;
    next.store(range.begin, std::memory_order_release);
  }
  /// How many it was filled with.
  int64_t size() const { return units.size(); }
  /// The next units, `most` or what is left of them; none when the queue is dry.
  UnitRange take(int64_t most = 1) {
    if (next.load(std::memory_order_relaxed) >= units.end) return {};
    const int64_t first = next.fetch_add(most, std::memory_order_acq_rel);
    if (first >= units.end) return {};
    return {first, std::min(first + most, units.end)};
  }
};

}  // namespace lepton::balance
