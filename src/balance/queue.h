// SPDX-License-Identifier: Apache-2.0
// The queue of a node: its unstarted units, in node-shared memory. Any compute thread of any rank of the node
// takes the next ones from the front with an atomic; the leader's main thread alone changes the back: it
// gives units away there, and appends those that came from other nodes. Invariants: a unit that was taken is
// started and never given away; a position behind the front is not written again in its round, so what was
// taken may be read without a lock; with what has been started the list never holds more than all units of a
// round.
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

/// How many units a thread takes at once, at most `together`, of a queue that was filled with `units` for
/// `threads` threads, `left` of them not taken yet. The first take of a round is half of an even share (all
/// of a share of two), later ones an even share of what is left: so that at the end of a round single units
/// are left for whoever is early. `singly`: other nodes may want what is in hands, and can take nothing of
/// it.
inline int64_t units_in_hand(int64_t units, int64_t left, int64_t threads, int64_t together, bool first,
                             bool singly = false) {
  if (singly) return 1;
  const int64_t share = units / threads;
  const int64_t most =
      first ? std::min<int64_t>(share, std::max<int64_t>(2, (share + 1) / 2)) : left / threads;
  return std::clamp<int64_t>(most, 1, together);
}

/// What lies in node-shared memory. Zeroed memory is a valid, empty, open queue.
struct alignas(64) UnitQueueState {
  std::atomic<uint64_t> ends{0};  ///< positions in the list: front in the low half, back in the high half
  int64_t filled = 0;             ///< units that it was filled with
  std::atomic<uint32_t> closed{0};
  std::atomic<uint32_t> singly{0};
  alignas(64) std::atomic<int64_t> done{0};  ///< units finished in this round
  std::atomic<int64_t> busy_ns{0};           ///< thread time that they took
};

/// A view of the state and of the list, which has room for all units of any round.
class UnitQueue {
 public:
  UnitQueue() = default;
  UnitQueue(UnitQueueState& state, std::span<int32_t> list) : state_(&state), list_(list) {}

  /// The leader, while no thread takes: these units are to be done. `open`: more may come, and threads that
  /// find it dry wait until it is closed.
  void fill(UnitRange range, bool open = false) {
    for (int64_t unit = range.begin; unit < range.end; ++unit)
      list_[static_cast<size_t>(unit - range.begin)] = static_cast<int32_t>(unit);
    state_->filled = range.size();
    state_->done.store(0, std::memory_order_relaxed);
    state_->busy_ns.store(0, std::memory_order_relaxed);
    state_->closed.store(!open, std::memory_order_relaxed);
    state_->singly.store(0, std::memory_order_relaxed);
    state_->ends.store(static_cast<uint64_t>(range.size()) << 32, std::memory_order_release);
  }
  /// How many it was filled with.
  int64_t size() const { return state_->filled; }
  /// How many nobody has taken yet; another thread may take them meanwhile.
  int64_t left() const {
    const uint64_t now = state_->ends.load(std::memory_order_acquire);
    return back(now) - front(now);
  }
  /// How many have been taken in this round; the list's first so many entries say which.
  int64_t started() const { return front(state_->ends.load(std::memory_order_acquire)); }
  std::span<const int32_t> list() const { return list_; }
  /// How many entries it has, started or not: only the leader changes that.
  int64_t listed() const { return back(state_->ends.load(std::memory_order_acquire)); }
  /// Threads shall take single units.
  bool singly() const { return state_->singly.load(std::memory_order_relaxed) != 0; }
  /// No more will come: who finds it dry may leave.
  bool closed() const { return state_->closed.load(std::memory_order_acquire) != 0; }

  /// The next units, `most` or what is left of them; none when the queue is dry. Valid to the round's end.
  std::span<const int32_t> take(int64_t most = 1) {
    uint64_t now = state_->ends.load(std::memory_order_acquire);
    for (;;) {
      const int64_t first = front(now), count = std::min(most, back(now) - first);
      if (count <= 0) return {};
      if (state_->ends.compare_exchange_weak(now, now + static_cast<uint64_t>(count),
                                             std::memory_order_acq_rel, std::memory_order_acquire))
        return list_.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    }
  }
  void count_done(int64_t units, int64_t busy_ns) {
    state_->busy_ns.fetch_add(busy_ns, std::memory_order_relaxed);
    state_->done.fetch_add(units, std::memory_order_release);
  }
  int64_t done() const { return state_->done.load(std::memory_order_acquire); }
  int64_t busy_ns() const { return state_->busy_ns.load(std::memory_order_relaxed); }

  /// The leader: takes units from the back to give them away, none of the list's first `kept`. Valid until
  /// the next append().
  std::span<const int32_t> take_back(int64_t most, int64_t kept = 0) {
    uint64_t now = state_->ends.load(std::memory_order_acquire);
    for (;;) {
      const int64_t end = back(now), count = std::min(most, end - std::max(front(now), kept));
      if (count <= 0) return {};
      if (state_->ends.compare_exchange_weak(now, now - (static_cast<uint64_t>(count) << 32),
                                             std::memory_order_acq_rel, std::memory_order_acquire))
        return list_.subspan(static_cast<size_t>(end - count), static_cast<size_t>(count));
    }
  }
  /// The leader: units that came from another node. What threads need to run them was written before.
  void append(std::span<const int32_t> units) {
    const uint64_t now = state_->ends.load(std::memory_order_relaxed);  // nobody else moves the back
    std::copy(units.begin(), units.end(), list_.begin() + back(now));
    state_->ends.fetch_add(static_cast<uint64_t>(units.size()) << 32, std::memory_order_release);
  }
  /// The leader.
  void take_singly() { state_->singly.store(1, std::memory_order_relaxed); }
  void close() { state_->closed.store(1, std::memory_order_release); }

 private:
  static int64_t front(uint64_t ends) { return static_cast<int64_t>(ends & 0xffffffffu); }
  static int64_t back(uint64_t ends) { return static_cast<int64_t>(ends >> 32); }

  UnitQueueState* state_ = nullptr;
  std::span<int32_t> list_;
};

}  // namespace lepton::balance
