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
#include <span>
#include <string>

#include "base/waiting.h"

namespace lepton::comm {

/// Lies in node-shared memory (zeroed memory is a valid state); 64-byte aligned.
struct alignas(64) NodeBarrierState {
  std::atomic<uint32_t> arrived{0};
  alignas(64) std::atomic<uint32_t> generation{0};
  std::atomic<uint32_t> sleepers{0};
  alignas(64) std::atomic<uint32_t> failed{0};  ///< some thread of the node has thrown: all waits end
  std::atomic<uint32_t> patient{0};             ///< the leader waits for a disk: deadlines do not count
};

/// A participant, in node-shared memory, so that the others can say who is missing.
struct Attendant {
  std::atomic<uint32_t> arrivals{0};
  std::atomic<int32_t> rank{0}, process{0};  ///< 0: it has not come yet at all
};

class NodeBarrier {
 public:
  /// `roster`: a place for each participant.
  NodeBarrier(NodeBarrierState& state, std::span<Attendant> roster, int rank, const Deadline& deadline);

  /// A compute thread, whose place in the roster this is, arrives and waits. Throws DeadlineError at the
  /// deadline, naming who did not come (and fails the others), NodeFailed once fail() was called anywhere.
  void wait(int place);
  /// A main thread arrives and waits, calling `poll` again and again.
  void wait(int place, const Poll& poll);
  /// The leader's main thread: waits until all others have arrived (polling), runs `serial`, then releases
  /// all. What `serial` throws is rethrown here and fails the others. One thread of the node at most calls
  /// this.
  void wait_serial(int place, const Poll& poll, const std::function<void()>& serial);
  /// Wakes everybody with NodeFailed.
  void fail();

 private:
  void arrive_and_wait(int place, const std::function<void()>* poll);
  void sign(int place, uint32_t generation);
  std::string missing() const;
  double deadline_s() const;
  void await(uint32_t generation, const std::function<void()>* poll);
  void release();
  void stop_if_failed() const;
  [[noreturn]] void past_deadline();

  NodeBarrierState& state_;
  std::span<Attendant> roster_;
  uint32_t participants_;
  int32_t rank_, process_;
  const Deadline& deadline_;
};

/// Another thread of the node failed and has the real error; whoever catches this stays silent.
struct NodeFailed {};

}  // namespace lepton::comm
