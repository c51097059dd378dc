// SPDX-License-Identifier: Apache-2.0
// LockWord: a lock of one word in node-shared memory (zero: free), held for microseconds at most. No futex,
// because a thread that finds it busy has other blocks to add first (accumulator) or comes once per round
// (lanes); a waiter spins a little, then yields, then sleeps. A holder that died takes the job with it, so
// the wait has a deadline.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/waiting.h"

namespace lepton::exact {

constexpr double lock_deadline_s = 600;

class LockWord {
 public:
  explicit LockWord(std::atomic<uint32_t>& word) : word_(word) {}
  bool try_lock() {
    return word_.load(std::memory_order_relaxed) == 0 && word_.exchange(1, std::memory_order_acquire) == 0;
  }
  /// Throws DeadlineError naming `what`.
  void lock(const char* what) {
    if (try_lock()) return;
    for (Pace pace; !try_lock(); pace.step())
      if (pace.waited_s() > lock_deadline_s)
        throw DeadlineError(what, lock_deadline_s, "another thread of this node holds the lock");
  }
  void unlock() { word_.store(0, std::memory_order_release); }

 private:
  std::atomic<uint32_t>& word_;
};

}  // namespace lepton::exact
