// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/round_limits.h"

#include <algorithm>
#include <limits>

namespace lepton::train {

void RoundLimits::note(exact::RoundKind kind, double seconds) {
  double& longest_s = longest_s_[static_cast<size_t>(kind)];
  longest_s = std::max(longest_s, seconds);
}

double RoundLimits::silence_s(exact::RoundKind kind) const {
  if (!run_.watched) return std::numeric_limits<double>::infinity();
  const double longest_s = longest_s_[static_cast<size_t>(kind)];
  if (longest_s == 0) return run_.deadline_s;
  if (run_.watchdog_s > 0) return std::min(run_.deadline_s, run_.watchdog_s);
  return std::min(run_.deadline_s, std::max(floor_s, multiple * longest_s));
}

double RoundLimits::wait_s(exact::RoundKind kind) const {
  return std::min(run_.deadline_s, 1.5 * silence_s(kind) + 1);
}

}  // namespace lepton::train
