// SPDX-License-Identifier: Apache-2.0
// The barrier of all compute threads of a node, across its ranks: some 50 spins, then yields, then (not for a
// main thread) a futex, with a deadline. A main thread polls meanwhile (to move messages): with yields, then
// sleeps of at most 100 us. Measured choice, see MEASURED.md: with more threads than cores pure spinning is
// ten times slower. The leader's main thread may run a serial section between everybody's arrival and
// everybody's release.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "base/waiting.h"

namespace lepton::comm {

/// Lies in node-shared memory (zeroed memory is a valid state); 64-byte aligned.
struct alignas(64) NodeBarrierState {
  std::atomic<uint32_t> arrived{0};
  alignas(64) std::atomic<uint32_t> generation{0};
  std::atomic<uint32_t> sleepers{0};
  alignas(64) std::atomic<uint32_t> failed{0};  ///< some thread of the node has thrown: all waits end
};

class NodeBarrier {
 public:
  NodeBarrier(NodeBarrierState& state, int participants, double deadline_s);

  /// A compute thread arrives and waits. Throws DeadlineError at the deadline (and fails the others),
  /// NodeFailed once fail() was called anywhere.
  void wait();
  /// A main thread arrives and waits, calling `poll` again and again.
  void wait(const Poll& poll);
  /// The leader's main thread: waits until all others have arrived (polling), runs `serial`, then releases
  /// all. What `serial` throws is rethrown here and fails the others. One thread of the node at most calls
  /// this.
  void wait_serial(const Poll& poll, const std::function<void()>& serial);
  /// Wakes everybody with NodeFailed.
  void fail();

 private:
  void arrive_and_wait(const std::function<void()>* poll);
  void await(uint32_t generation, const std::function<void()>* poll);
  void release();
  void stop_if_failed() const;
  [[noreturn]] void past_deadline();

  NodeBarrierState& state_;
  uint32_t participants_;
  double deadline_s_;
};

/// Another thread of the node failed and has the real error; whoever catches this stays silent.
struct NodeFailed {};

}  // namespace lepton::comm
