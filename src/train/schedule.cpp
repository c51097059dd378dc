// SPDX-License-Identifier: Apache-2.0
// The order of rounds. Called by conductor on every node's leader, alike.
#include "train/schedule.h"

namespace lepton::train {

using exact::RoundKind;

bool Schedule::regular_evaluation(int64_t step) const {
  return monitor && step > 0 && evaluate_every > 0 && step % evaluate_every == 0;
}

bool Schedule::evaluation_due(int64_t step) const {
  return monitor && (regular_evaluation(step) || step == last_step);
}

std::optional<Work> Schedule::first(int64_t step, Pending pending, bool stopped_early) const {
  if (pending == Pending::monitor && monitor) return Work{*monitor, step, 0};
  if (step < last_step && !stopped_early) return Work{RoundKind::train, step + 1, 0};
  if (pending == Pending::closing) return closing(step);
  return std::nullopt;
}

std::optional<Work> Schedule::next(const Work& work) const {
  if (work.kind == RoundKind::train) {
    if (evaluation_due(work.step)) return Work{*monitor, work.step, 0};
  } else if (!last_part(work)) {
    return Work{work.kind, work.step, work.part + 1};
  } else if (closes(work)) {
    return std::nullopt;  // also behind an early stop
  }
  if (work.step < last_step) return Work{RoundKind::train, work.step + 1, 0};
  return closing(work.step);
}

std::optional<Work> Schedule::closing(int64_t step) const {
  if (!test_at_end) return std::nullopt;
  return Work{RoundKind::test, step, 0};
}

bool Schedule::closes(const Work& work) const {
  return test_at_end && work.kind == RoundKind::test;
}

bool Schedule::last_part(const Work& work) const {
  return work.part + 1 >= (closes(work) ? test_parts : monitor_parts);
}

Pending Schedule::pending(const std::optional<Work>& work) const {
  if (!work || work->kind == RoundKind::train) return Pending::nothing;
  return closes(*work) ? Pending::closing : Pending::monitor;
}

}  // namespace lepton::train
