// SPDX-License-Identifier: Apache-2.0
// Numbers and tables as people read them: amounts, the closing tables by rank and by node, a warning. Pure
// functions. Used in report, and by train in its messages. Tables fit 100 columns and end in bars of plain
// ASCII, so that a log shows at a glance who worked and who waited.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lepton::report {

/// "0.4 s", "12 s", "3 min 05 s", "1 h 03 min", "2 d 03 h".
std::string duration_text(double seconds);
/// "512 B", "3.2 GiB"
std::string bytes_text(double bytes);
/// "850", "12.3k", "1.20M", "0.0412": three digits.
std::string count_text(double count);

/// Seconds per phase of one rank, main thread's view plus busy time of its compute threads. sum: converting
/// the units' gradients and adding them; optimizer ("update" in the table): verifying the sums and updating;
/// checkpoint: "saving".
struct RankTimes {
  double data_s = 0, compute_s = 0, sum_s = 0, optimizer_s = 0, wait_s = 0, checkpoint_s = 0, total_s = 0;
  int64_t units = 0;
  int node = 0;
};
/// One row per rank with the share of each phase in percent (of total_s, or of the phases' sum where threads
/// make that larger; what is left is "other"), and their mean; of more than 64 ranks the first 64. Scripts
/// read the figures: tools/bench_lepton.py.
std::string summary_table(const std::vector<RankTimes>& ranks);

/// What a node did in training steps, summed over some of them or over the run. given, taken: units that
/// moved to and from other nodes by stealing, so done = planned - given + taken. busy_s, wait_s:
/// thread-seconds of computing units and of waiting. units_per_s: the speed it is planned with.
struct NodeWork {
  int ranks = 1, threads = 1;
  int64_t planned = 0, done = 0, given = 0, taken = 0;
  double units_per_s = 0, busy_s = 0, wait_s = 0;
};
/// One row per node and their total; of more than 32 nodes the 8 slowest, 8 in the middle and the 8 fastest,
/// and the total of all. busy: its share of busy and waiting time.
std::string balance_table(const std::vector<NodeWork>& nodes);

/// A warning that stealing cannot cure an imbalance, since units are too large: `loss`, from 0 to 1, is what
/// the best plan of whole units leaves idle, `better_loss` what it would with that unit_size. A better one
/// that is not better (or < 1: there is none) is not recommended.
std::string coarse_units_text(int64_t units, int threads, double loss, int64_t better_unit_size,
                              double better_loss);

}  // namespace lepton::report
