// SPDX-License-Identifier: Apache-2.0
// How a thread waits: some 50 spins, then yields, then sleeps of at most 100 us, so that more threads than
// cores still make progress (measured: pure spinning is ten times slower there). And what happens when a wait
// is too long: DeadlineError, exit code 75. Used by every wait for another thread, process or device.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"

namespace lepton {

/// A wait passed its deadline (Exit::again). It is never agreed on, because the others may be stuck for ever:
/// whoever catches it ends the job. What was in flight stays in flight, so the job cannot go on either.
class DeadlineError : public Error {
 public:
  /// `whom` says who was waited for, as far as it is known.
  DeadlineError(const std::string& wait, double deadline_s, const std::string& whom);
};

/// Called while waiting; may be empty.
using Poll = std::function<void()>;

/// The pace of one wait. Call step() between two looks at the condition.
class Pace {
 public:
  /// `yield_s`: how long it yields before it sleeps. A sleep ends some 100 us late.
  explicit Pace(double yield_s = 200e-6);
  void step();
  /// Begins anew, because there was progress.
  void restart();
  /// Seconds since the begin, as of the last step that yielded or slept (spins do not read the clock).
  double waited_s() const { return waited_s_; }
  /// Whether spinning and yielding have been tried long enough: time for a futex, where there is one.
  bool patient() const { return waited_s_ > yield_s_; }

  static constexpr int spins = 50;
  static constexpr int sleep_max_us = 100;

 private:
  int spun_ = 0, sleep_us_ = 1;
  double yield_s_, begin_s_, waited_s_ = 0;
};

}  // namespace lepton
