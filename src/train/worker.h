// SPDX-License-Identifier: Apache-2.0
// Worker: one compute thread's part of a round: units from the node's queue, and blocks of the arena at the
// end of a step. Two kinds: CPU threads (train/unit_runner), of which a node has any number, and the one
// thread that feeds a device (train/device_runner). Made in the thread that it serves; what it counts goes
// into lanes, which prove the round.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/waiting.h"
#include "train/unit.h"

namespace lepton::train {

class Worker {
 public:
  virtual ~Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Takes units from the node's queue until it is dry and closed. `between`, if not empty, is called before
  /// each and while waiting for more (the leader's main thread moves messages there).
  virtual void run_queue(const std::function<void()>& between) = 0;
  /// This thread's share of the phases of train/phases.h, which has their meaning.
  virtual void verify() = 0;
  virtual void verify_and_update() = 0;
  virtual void update() = 0;
  virtual void copy_state(const StateCopy& to) = 0;

  /// Puts the round's sums into this thread's lanes and merges them into the node's.
  void finish_units(int64_t round);
  void merge_lanes(int64_t round);

  exact::Lanes& lanes() { return sums_.lanes; }
  const ThreadTimes& times() const { return sums_.times; }
  ThreadTimes& times() { return sums_.times; }

 protected:
  /// `thread`: number within the node.
  Worker(const UnitResources& resources, int thread, int nodes);
  /// The queue is dry: waits until it has units again (true) or is closed. Throws DeadlineError, and
  /// NodeFailed when another thread of the node failed.
  bool await_units(const Poll& between);
  /// The losses of units into the lanes.
  void fold_losses();
  /// That so many units of this node took so long.
  void count_time(int64_t units, double seconds);

  UnitResources resources_;
  ThreadSums sums_;
};

/// The worker for a thread: the device's where the node has one. `poll`, if not empty, is called between the
/// layers of units too.
std::unique_ptr<Worker> make_worker(const UnitResources& resources, const UnitSizes& sizes, int thread,
                                    int node_threads, int nodes, const Poll& poll);

}  // namespace lepton::train
