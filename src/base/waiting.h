// SPDX-License-Identifier: Apache-2.0
// How a thread waits: some 50 spins, then yields, then sleeps of at most 100 us, so that more threads than
// cores still make progress (measured: pure spinning is ten times slower there). And what happens when a wait
// is too long: DeadlineError, exit code 75. Who waits beats (base/watchdog.h). Used by every wait for another
// thread, process or device.
#pragma once

#include <atomic>
#include <functional>
#include <limits>
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

/// How long waits may last: one for all waits of a process, which may change while they wait.
class Deadline {
 public:
  explicit Deadline(double seconds) : seconds_(seconds) {}
  double seconds() const { return seconds_.load(std::memory_order_relaxed); }
  void set(double seconds) { seconds_.store(seconds, std::memory_order_relaxed); }

  /// While it lives waits may last as long as they like: others wait for a disk.
  class Lifted {
   public:
    explicit Lifted(Deadline& deadline) : deadline_(deadline), before_(deadline.seconds()) {
      deadline.set(std::numeric_limits<double>::infinity());
    }
    ~Lifted() { deadline_.set(before_); }
    Lifted(const Lifted&) = delete;
    Lifted& operator=(const Lifted&) = delete;

   private:
    Deadline& deadline_;
    double before_;
  };

 private:
  std::atomic<double> seconds_;
};

/// Called while waiting; may be empty.
using Poll = std::function<void()>;

/// Time as this process lives it: each look counts at most tick_max_s, so that what it was suspended for does
/// not.
class OwnTime {
 public:
  OwnTime();
  void restart();
  /// Seconds since the begin, as of now.
  double count();
  /// The same as of the last count().
  double counted_s() const { return counted_s_; }

  static constexpr double tick_max_s = 1;

 private:
  double last_s_, counted_s_ = 0;
};

/// The pace of one wait. Call step() between two looks at the condition.
class Pace {
 public:
  /// `yield_s`: how long it yields before it sleeps. A sleep ends some 100 us late.
  explicit Pace(double yield_s = 200e-6);
  void step();
  /// Begins anew, because there was progress.
  void restart();
  /// Seconds since the begin, as of the last step that yielded or slept (spins do not read the clock), of own
  /// time: while the whole job is suspended nobody waits.
  double waited_s() const { return time_.counted_s(); }
  /// Whether spinning and yielding have been tried long enough: time for a futex, where there is one.
  bool patient() const { return time_.counted_s() > yield_s_; }

  static constexpr int spins = 50;
  static constexpr int sleep_max_us = 100;

 private:
  int spun_ = 0, sleep_us_ = 1;
  double yield_s_;
  OwnTime time_;
};

}  // namespace lepton
