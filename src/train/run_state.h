// SPDX-License-Identifier: Apache-2.0
// RunState: the small part of a run's state, beside parameters and moments: what a checkpoint's state.bin
// holds. The same on every leader after every step, byte for byte for identical states; no time, rank, speed
// or plan enters it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/statistics.h"

namespace lepton::train {

/// The evaluation that a stop left undone: the restart does it first.
enum class Pending : int { nothing = 0, monitor = 1, closing = 2 };

struct RunState {
  int64_t step = 0;              ///< steps made
  int64_t schedule_steps = 0;    ///< resolved at the first start
  std::vector<int> scales;       ///< exact sums, per tensor
  data::Statistics statistics;   ///< of the train split
  std::string last_ledger_line;  ///< encoded; "" before the first step
  Pending pending = Pending::nothing;
  bool has_best = false;
  double best_metric = 0;
  int64_t best_step = 0;
  int64_t stale_evaluations = 0;  ///< since the best one

  /// Notes the metric of a regular evaluation after `at_step`; whether it is better than the best so far by
  /// more than `margin`.
  bool improves(double metric, bool larger_is_better, double margin, int64_t at_step);

  /// For who keeps it after every step: an encoded state of this run and, behind it, what has changed since,
  /// with this evaluation left to do. Allocates nothing once `out` has been as large.
  void encode_onto(std::string_view encoded, Pending left, std::string& out) const;
  /// Throws Error(data) naming `where`.
  static RunState decode_from(std::string_view bytes, const std::string& where);
  std::string encode() const;
  /// Throws Error(data) naming `where`.
  static RunState decode(const std::string& bytes, const std::string& where);
};

}  // namespace lepton::train
