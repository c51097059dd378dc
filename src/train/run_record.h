// SPDX-License-Identifier: Apache-2.0
// run.json: the history of a run that must not enter its state: starts with times, ranks, nodes, arithmetic
// class and operational keys, and the parentage of --from. Beside the checkpoints; rewritten whole by rename.
// **Rank 0 only.**
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace lepton::train {

struct StartRecord {
  int ranks = 1, nodes = 1;
  int64_t step = 0;  ///< of the state it starts from
  std::string arithmetic_class, parent;
  std::map<std::string, std::string> operational;
};

/// Starts recorded so far.
int64_t count_starts(const std::string& run_directory);
/// Appends a start with the present time; notes changed operational keys against the last start in the log.
void record_start(const std::string& run_directory, const StartRecord& start);
/// Completes the last record: time, step, exit code.
void record_end(const std::string& run_directory, int64_t step, int exit_code);

}  // namespace lepton::train
