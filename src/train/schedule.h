// SPDX-License-Identifier: Apache-2.0
// Schedule: the sequence of rounds of a run as a pure function: training steps, and after the steps at which
// an evaluation is due its parts (rounds of bounded size). It knows nothing of attempts (a redo repeats its
// round) nor of early stopping (which leaves the sequence). Invariant: next() depends on its argument alone,
// so that a restart continues where the state says.
#pragma once

#include <cstdint>
#include <optional>

#include "exact/lanes.h"
#include "train/run_state.h"

namespace lepton::train {

/// One round to do. Training: makes step `step` (from 1). Evaluation: part `part` of the split, after step
/// `step`.
struct Work {
  exact::RoundKind kind = exact::RoundKind::train;
  int64_t step = 0;
  int64_t part = 0;
  bool operator==(const Work&) const = default;
};

struct Schedule {
  int64_t last_step = 0;
  int64_t evaluate_every = 0;  ///< steps; 0: only after last_step
  std::optional<exact::RoundKind>
      monitor;  ///< the split evaluated during training: validation, or test without one
  int64_t monitor_parts = 0;
  bool test_at_end = false;  ///< a test split that is not the monitor
  int64_t test_parts = 0;

  /// Whether step `step` is one of the regular evaluations, which drive early stopping and the best model.
  bool regular_evaluation(int64_t step) const;
  bool evaluation_due(int64_t step) const;
  /// What a run does that has made `step` steps and left `pending` undone; nothing: it is complete.
  std::optional<Work> first(int64_t step, Pending pending, bool stopped_early) const;
  std::optional<Work> next(const Work& work) const;
  /// What remains after leaving the sequence at `step` (early stopping).
  std::optional<Work> closing(int64_t step) const;
  /// Whether this is the evaluation that closes a run, which nothing follows but its own parts.
  bool closes(const Work& work) const;
  /// How a state remembers that `work` comes next.
  Pending pending(const std::optional<Work>& work) const;
  /// The last part of an evaluation: its result is complete after it.
  bool last_part(const Work& work) const;
};

}  // namespace lepton::train
