// SPDX-License-Identifier: Apache-2.0
// Trainer: binds the modules into a run and owns the loop that every compute thread of every rank runs.
// step() is the table of contents of a training step (DESIGN section 4). The same loop serves evaluation
// rounds during training.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/watchdog.h"
#include "base/workers.h"
#include "report/progress.h"
#include "train/conductor.h"
#include "train/phases.h"
#include "train/round_limits.h"
#include "train/worker.h"

namespace lepton::train {

class Trainer {
 public:
  /// **Collective.** resources and ensemble must outlive it. `thread_base`: number of this rank's thread 0
  /// within the node. `watchdog`: of this process, which watches its main thread already; null: nobody does.
  Trainer(const comm::World& world, const UnitResources& resources, const UnitSizes& sizes,
          const Ensemble& ensemble, RunState state, int threads, int thread_base, int node_threads,
          Watchdog* watchdog);

  /// **Collective.** Trains until the schedule, early stopping, a stop or an error ends it, and waits for the
  /// last checkpoint. Throws what ended the run, the same on all ranks when it was decided in a step.
  /// Exit::done or Exit::again (stopped).
  Exit run();

  const Conductor* conductor() const { return conductor_ ? &*conductor_ : nullptr; }  ///< leaders only
  report::RankTimes times() const;

 private:
  void run_threads();
  void loop(int thread);
  void step(int thread, Worker& worker);
  void set_limits(exact::RoundKind kind);
  /// From the barrier after the last unit to the next round (DESIGN section 4.4).
  void end_step(int thread, Worker& worker);
  void snapshot(int thread, Worker& worker);
  /// Waits for all threads of the node; the leader's main thread runs `serial`, if any, before anybody goes
  /// on.
  void meet(int thread, Worker* worker, void (Conductor::*serial)());
  void throw_failure() const;

  const comm::World& world_;
  UnitResources resources_;
  const UnitSizes& sizes_;
  Ensemble ensemble_;
  std::optional<Conductor> conductor_;  // leaders only
  comm::NodeBarrier barrier_;
  std::vector<ThreadTimes> times_;
  std::function<void()> poll_, nothing_;
  double total_s_ = 0, checkpoint_s_ = 0;
  int threads_, thread_base_, node_threads_;
  Watchdog* watchdog_;
  RoundLimits limits_;
  std::mutex failure_mutex_;
  std::exception_ptr failure_;  // the first real one of this rank's threads
};

}  // namespace lepton::train
