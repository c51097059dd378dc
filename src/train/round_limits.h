// SPDX-License-Identifier: Apache-2.0
// When a round has taken so long that somebody must be stuck: a multiple of the longest round of its kind so
// far, at least a minute, or what run.watchdog says; before a kind has been measured, run.deadline. A thread
// that hangs is found by its own process's watchdog (base/watchdog.h) after silence_s(), a process that is
// stopped or dead by those who wait for it after wait_s(), which is longer, so that who can print a stack
// speaks first. Pure. Called by trainer, in each rank's main thread.
#pragma once

#include <array>

#include "exact/lanes.h"
#include "train/deck.h"

namespace lepton::train {

class RoundLimits {
 public:
  explicit RoundLimits(const RunSpec& run) : run_(run) {}
  void note(exact::RoundKind kind, double seconds);
  /// Of a thread that should be working; infinite: it is not watched.
  double silence_s(exact::RoundKind kind) const;
  /// For other ranks, never longer than run.deadline.
  double wait_s(exact::RoundKind kind) const;

  static constexpr double floor_s = 60, multiple = 20;

 private:
  RunSpec run_;
  std::array<double, exact::round_kinds> longest_s_{};  ///< 0: not measured
};

}  // namespace lepton::train
