// SPDX-License-Identifier: Apache-2.0
// metrics.jsonl: one JSON object per line for scripts; lines behind the state are dropped at a restart.
// **Rank 0 only.** Called by train after steps and evaluations.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "report/scores.h"
#include "storage/file.h"

namespace lepton::report {

class MetricsFile {
 public:
  /// Opens <directory>/metrics.jsonl and drops lines with step > last_step, a torn last line and damaged
  /// ones.
  MetricsFile(const std::string& directory, int64_t last_step);
  /// kind: train | validation | test. Further fields in order; Inf and NaN become null.
  void write(const std::string& kind, int64_t step, double epoch,
             const std::vector<std::pair<std::string, double>>& fields);

 private:
  storage::LineFile file_;
};

}  // namespace lepton::report
