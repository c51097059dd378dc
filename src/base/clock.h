// SPDX-License-Identifier: Apache-2.0
// Monotonic time. Used for speeds, progress and deadlines only: no time ever enters ledger or checkpoint.
#pragma once

#include <chrono>

namespace lepton {

/// Seconds on the monotonic clock, from an arbitrary origin.
inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Adds the time of its scope to `total_s`.
class ScopedTimer {
 public:
  explicit ScopedTimer(double& total_s) : total_s_(total_s), begin_s_(now_s()) {}
  ~ScopedTimer() { total_s_ += now_s() - begin_s_; }
  ScopedTimer(const ScopedTimer&) = delete;
  ScopedTimer& operator=(const ScopedTimer&) = delete;

 private:
  double& total_s_;
  double begin_s_;
};

}  // namespace lepton
