// SPDX-License-Identifier: Apache-2.0
// Waiting and waking of a rank's threads. A step gives the team a few jobs of a millisecond or less, so a job
// must start within microseconds where there are cores, and a waiting thread must give its core away at once
// where there are not (7 ranks x 2 threads on 2 cores): a short spin, then yields, then a futex.
#include "base/workers.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "base/error.h"

namespace lepton {

namespace {

constexpr int spins = 50, yields = 300;

void relax_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

void ThreadTeam::Gate::wait_while(uint32_t value) {
  for (int i = 0; i < spins; ++i) {
    if (word.load(std::memory_order_acquire) != value) return;
    relax_cpu();
  }
  for (int i = 0; i < yields; ++i) {
    if (word.load(std::memory_order_acquire) != value) return;
    std::this_thread::yield();
  }
  // The sleeper announces itself, then the kernel looks at the word again; the waker stores the word, then
  // looks for sleepers. Both in the one order of seq_cst: at least one of them sees the other.
  sleepers.fetch_add(1);
  while (word.load() == value) {
    static_assert(sizeof(word) == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free);
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
  }
  sleepers.fetch_sub(1);
}

void ThreadTeam::Gate::wake_all() {
  if (sleepers.load() != 0) syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

ThreadTeam::ThreadTeam(int threads, std::function<void(int)> on_start) : on_start_(std::move(on_start)) {
  CHECK(threads >= 1, "a team of " + std::to_string(threads) + " threads");
  failures_.resize(static_cast<size_t>(threads));
  threads_.reserve(failures_.size() - 1);
  for (int thread = 1; thread < threads; ++thread) threads_.emplace_back([this, thread] { loop(thread); });
}

ThreadTeam::~ThreadTeam() {
  stop_ = true;
  generation_.word.fetch_add(1);
  generation_.wake_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadTeam::execute(int thread) {
  try {
    (*job_)(thread);
  } catch (...) {
    failures_[static_cast<size_t>(thread)] = std::current_exception();
  }
}

void ThreadTeam::loop(int thread) {
  try {
    if (on_start_) on_start_(thread);
  } catch (...) {
    failures_[static_cast<size_t>(thread)] = std::current_exception();  // run() hands it on
  }
  for (uint32_t seen = 0;; ++seen) {
    generation_.wait_while(seen);
    if (stop_) return;
    run_context() = context_;
    execute(thread);
    if (running_.word.fetch_sub(1) == 1) running_.wake_all();
  }
}

void ThreadTeam::run(const std::function<void(int)>& job) {
  job_ = &job;
  context_ = run_context();
  running_.word.store(static_cast<uint32_t>(threads_.size()));
  generation_.word.fetch_add(1);
  generation_.wake_all();
  execute(0);
  for (uint32_t left = running_.word.load(); left != 0; left = running_.word.load())
    running_.wait_while(left);
  job_ = nullptr;
  rethrow_first();
}

void ThreadTeam::rethrow_first() {
  std::exception_ptr first;
  for (std::exception_ptr& failure : failures_) {
    if (failure && !first) first = failure;
    failure = nullptr;
  }
  if (first) std::rethrow_exception(first);
}

BackgroundThread::BackgroundThread() : thread_([this] { loop(); }) {}

BackgroundThread::~BackgroundThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void BackgroundThread::post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.emplace_back(std::move(task), run_context());
  }
  wake_.notify_one();
}

bool BackgroundThread::idle() const {
  const std::lock_guard lock(mutex_);
  return tasks_.empty() && !busy_;
}

void BackgroundThread::wait_idle() {
  std::unique_lock lock(mutex_);
  idle_changed_.wait(lock, [this] { return tasks_.empty() && !busy_; });
}

void BackgroundThread::rethrow_failure() {
  std::unique_lock lock(mutex_);
  const std::exception_ptr failure = std::exchange(failure_, nullptr);
  lock.unlock();
  if (failure) std::rethrow_exception(failure);
}

void BackgroundThread::loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    busy_ = true;
    std::exception_ptr failure;
    {
      auto [task, context] = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      run_context() = context;
      try {
        task();
      } catch (...) {
        failure = std::current_exception();
      }
    }  // what the task holds is released before the queue counts as idle
    lock.lock();
    if (failure && !failure_) failure_ = failure;
    busy_ = false;
    if (tasks_.empty()) idle_changed_.notify_all();
  }
}

}  // namespace lepton
