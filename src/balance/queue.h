// SPDX-License-Identifier: Apache-2.0
// The queue of a node: the units that it starts with, in node-shared memory; any compute thread of any rank
// of the node takes the next ones with an atomic. A started unit is never given away: unstarted ones are
// those behind `next`.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace lepton::balance {

/// Units begin, begin + 1, ... end - 1.
struct UnitRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool empty() const { return begin == end; }
  bool operator==(const UnitRange&) const = default;
};

/// How many units a thread takes at once, at most `together`, of a queue that was filled with `units` for
/// `threads` threads, `left` of them not taken yet. The first take of a round is half of an even share (all
/// of a share of two), later ones an even share of what is left: so that at the end of a round single units
/// are left for whoever is early.
inline int64_t units_in_hand(int64_t units, int64_t left, int64_t threads, int64_t together, bool first) {
  const int64_t share = units / threads;
  return std::clamp<int64_t>(
      first ? std::min<int64_t>(share, std::max<int64_t>(2, (share + 1) / 2)) : left / threads, 1, together);
}

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
  /// How many nobody has taken yet; another thread may take them meanwhile.
  int64_t left() const { return std::max<int64_t>(0, units.end - next.load(std::memory_order_relaxed)); }
  /// The next units, `most` or what is left of them; none when the queue is dry.
  UnitRange take(int64_t most = 1) {
    if (next.load(std::memory_order_relaxed) >= units.end) return {};
    const int64_t first = next.fetch_add(most, std::memory_order_acq_rel);
    if (first >= units.end) return {};
    return {first, std::min(first + most, units.end)};
  }
};

}  // namespace lepton::balance
