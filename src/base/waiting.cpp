// SPDX-License-Identifier: Apache-2.0
// The pace of a wait and the error at its end. Invariant: a step takes at most about 100 us beside what the
// scheduler adds, so that a main thread that waits still serves messages.
#include "base/waiting.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/watchdog.h"

namespace lepton {

static std::string seconds_text(double seconds) {
  std::string text = std::to_string(seconds);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text + " s";
}

DeadlineError::DeadlineError(const std::string& wait, double deadline_s, const std::string& whom)
    : Error(Exit::again, wait, "waited longer than " + seconds_text(deadline_s) + "; " + whom,
            "The state on disk is valid: start the job again, on other nodes if the same rank stays away.") {}

OwnTime::OwnTime() : last_s_(now_s()) {}

void OwnTime::restart() {
  last_s_ = now_s();
  counted_s_ = 0;
}

double OwnTime::count() {
  const double now = now_s();
  counted_s_ += std::min(now - last_s_, tick_max_s);
  last_s_ = now;
  return counted_s_;
}

Pace::Pace(double yield_s) : yield_s_(yield_s) {}

void Pace::step() {
  if (spun_ < spins) {
    ++spun_;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    return;
  }
  if (patient()) {
    std::this_thread::sleep_for(std::chrono::microseconds(sleep_us_));
    sleep_us_ = sleep_us_ * 2 > sleep_max_us ? sleep_max_us : sleep_us_ * 2;
  } else {
    sched_yield();
  }
  time_.count();
  beat();
}

void Pace::restart() {
  spun_ = 0;
  sleep_us_ = 1;
  time_.restart();
}

}  // namespace lepton
