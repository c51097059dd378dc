// SPDX-License-Identifier: Apache-2.0
// The queue of a node: the units that it starts with, in node-shared memory; any compute thread of any rank
// of the node takes the next one with an atomic. A started unit is never given away: unstarted ones are those
// behind `next`.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

namespace lepton::balance {

/// Zeroed memory is a valid, empty queue.
struct alignas(64) UnitQueue {
  std::atomic<int64_t> next{0};
  int64_t end = 0;

  /// The leader, while no thread takes: units [begin, last) are to be done.
  void fill(int64_t begin, int64_t last) {
    end = last;
    next.store(begin, std::memory_order_release);
  }
  /// The next unit, or -1 when the queue is dry.
  int64_t take() {
    if (next.load(std::memory_order_relaxed) >= end) return -1;
    const int64_t unit = next.fetch_add(1, std::memory_order_acq_rel);
    return unit < end ? unit : -1;
  }
};

}  // namespace lepton::balance
