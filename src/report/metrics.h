// SPDX-License-Identifier: Apache-2.0
// metrics.jsonl: one JSON object per line for scripts; lines behind the state are dropped at a restart.
// **Rank 0 only.** Called by train after steps and evaluations. Every line has a kind and the step by which a
// restart judges it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "report/scores.h"
#include "report/texts.h"
#include "storage/file.h"

namespace lepton::report {

/// How the work was shared in training steps since the last line of kind balance, or since this start. Means
/// over the steps: the time of a step, that of its part in which units run, and its units; of each node the
/// sums.
struct BalanceFigures {
  double step_s = 0, units_s = 0, units_per_step = 0;
  std::vector<NodeWork> nodes;
  /// What the sum of the nodes' speeds would take for the units of a step, against what it took: 1 is
  /// perfect, less is lost to waiting, Inf or NaN says that nothing was measured.
  double efficiency() const;
};

class MetricsFile {
 public:
  /// Opens <directory>/metrics.jsonl and drops lines with step > last_step, a torn last line and damaged
  /// ones.
  MetricsFile(const std::string& directory, int64_t last_step);
  /// kind: train | validation | test | checkpoint | copy. Further fields in order; Inf and NaN become null.
  void write(const std::string& kind, int64_t step, double epoch,
             const std::vector<std::pair<std::string, double>>& fields);
  /// kind: balance. step_s, units_s, efficiency, and by node the whole arrays speeds (units/s), threads,
  /// planned, done, given, taken. A restart drops it as any other.
  void balance(int64_t step, double epoch, const BalanceFigures& figures);

 private:
  storage::LineFile file_;
};

}  // namespace lepton::report
