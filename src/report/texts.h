// SPDX-License-Identifier: Apache-2.0
// Numbers and tables as people read them. Pure functions. Used in report, and by train in its messages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lepton::report {

/// "0.4 s", "12 s", "3 min 05 s", "1 h 03 min", "2 d 03 h".
std::string duration_text(double seconds);
/// "512 B", "3.2 GiB"
std::string bytes_text(double bytes);
/// "850", "12.3k", "1.20M": three digits.
std::string count_text(double count);

/// Seconds per phase of one rank, main thread's view plus busy time of its compute threads. sum: converting
/// the units' gradients and adding them; optimizer: verifying the sums and updating.
struct RankTimes {
  double data_s = 0, compute_s = 0, sum_s = 0, optimizer_s = 0, wait_s = 0, checkpoint_s = 0, total_s = 0;
  int64_t units = 0;
};
/// One row per rank with the share of each phase in percent (of total_s, or of the phases' sum where threads
/// make that larger; what is left is "other"), and their mean; of more than 64 ranks the first 64.
std::string summary_table(const std::vector<RankTimes>& ranks);

}  // namespace lepton::report
