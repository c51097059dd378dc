// SPDX-License-Identifier: Apache-2.0
// The estimate behind a speed, when its window begins anew, and what is published of it. Only + - * / and
// comparisons on doubles, in the order of nodes: the same bits everywhere.
#include "balance/speeds.h"

#include <algorithm>

namespace lepton::balance {
namespace {

/// A published speed stays where it is as long as the estimate is no further off than this.
constexpr double slack = 0.02;

}  // namespace

Speeds::Speeds(std::vector<int> threads_per_node)
    : threads_(std::move(threads_per_node)), recent_(threads_.size()), quickened_(threads_.size(), 0) {
  for (int threads : threads_) speeds_.push_back(threads);
}

void Speeds::measure(size_t node, double rate) {
  Recent& recent = recent_[node];
  double& speed = speeds_[node];
  if (recent.empty()) speed = rate;
  if (recent.take(rate, speed)) {
    speed = recent.middle();
    quickened_[node] = 0;
    return;
  }
  // Moved as far as needed, not onto the estimate: what it then does within the slack moves nothing, and of
  // its noise only what is beyond the slack is ever seen. Jumping onto it would publish the noise as it is.
  const double estimate = recent.middle();
  if (estimate > (1 + slack) * speed) speed = estimate / (1 + slack);
  if (estimate < (1 - slack) * speed) speed = estimate / (1 - slack);
  quickened_[node] = Recent::side(rate, speed) > 0;
}

void Speeds::observe(std::span<const int64_t> units, std::span<const int64_t> busy_ns) {
  double sum = 0;
  int64_t measured_threads = 0;
  for (size_t n = 0; n < threads_.size(); ++n) {
    if (units[n] > 0 && busy_ns[n] > 0) {
      const double busy_s = static_cast<double>(busy_ns[n]) * 1e-9 / threads_[n];
      measure(n, static_cast<double>(units[n]) / busy_s);
    }
    if (recent_[n].empty()) continue;
    sum += speeds_[n];
    measured_threads += threads_[n];
  }
  measured_ = measured_threads > 0;
  if (!measured_) return;
  for (size_t n = 0; n < threads_.size(); ++n)
    if (recent_[n].empty()) speeds_[n] = sum / static_cast<double>(measured_threads) * threads_[n];
}

}  // namespace lepton::balance
