// SPDX-License-Identifier: Apache-2.0
// Threads of a rank. ThreadTeam: the compute threads, of which the main thread is number 0; one job at a time
// runs on all of them. BackgroundThread: a queue of tasks on one thread of its own (reader, writer).
// Invariants: neither ever calls MPI; an exception in a job or task is kept and rethrown to the owner; a job
// or task runs in the run context (base/failpoint.h) of the thread that gave it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/failpoint.h"

namespace lepton {

class ThreadTeam {
 public:
  /// `on_start(thread)` runs first in every thread but 0 (and must be called by the owner for thread 0).
  explicit ThreadTeam(int threads, std::function<void(int)> on_start = {});
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }
  /// Runs job(thread) on threads 0..size-1, 0 being the caller; returns when all have returned. Rethrows the
  /// first exception by thread number. Allocates nothing. Called by one thread at a time, never from a job.
  void run(const std::function<void(int)>& job);

 private:
  /// A word to wait on: spins, then yields, then sleeps in a futex. Waking nobody costs no system call.
  struct alignas(64) Gate {
    std::atomic<uint32_t> word{0}, sleepers{0};
    void wait_while(uint32_t value);
    void wake_all();
  };
  void loop(int thread);
  void execute(int thread);
  void rethrow_first();
  std::vector<std::thread> threads_;
  std::vector<std::exception_ptr> failures_;  // by thread
  const std::function<void(int)>* job_ = nullptr;
  std::function<void(int)> on_start_;
  RunContext context_;
  Gate generation_;  // the number of the job; a change is the call to run it
  Gate running_;     // threads that have not returned from it
  bool stop_ = false;
};

class BackgroundThread {
 public:
  BackgroundThread();
  ~BackgroundThread();  ///< finishes the queue, then joins
  BackgroundThread(const BackgroundThread&) = delete;
  BackgroundThread& operator=(const BackgroundThread&) = delete;

  void post(std::function<void()> task);
  bool idle() const;  ///< nothing queued, nothing running
  void wait_idle();
  /// Rethrows, once, the first exception that a task threw since the last call.
  void rethrow_failure();

 private:
  void loop();
  mutable std::mutex mutex_;
  std::condition_variable wake_, idle_changed_;
  std::deque<std::pair<std::function<void()>, RunContext>> tasks_;
  std::exception_ptr failure_;
  bool busy_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace lepton
