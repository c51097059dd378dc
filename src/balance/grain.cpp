// SPDX-License-Identifier: Apache-2.0
// See the header. Called by train.
#include "balance/grain.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "balance/plan.h"

namespace lepton::balance {

double grain_loss(int64_t units, std::span<const double> speeds, std::span<const int> threads) {
  if (units == 0) return 0;
  UnitPlanner planner;
  std::vector<int64_t> begins;
  planner.plan(units, speeds, threads, {}, begins);
  double last_s = 0;
  for (size_t n = 0; n < speeds.size(); ++n)
    last_s = std::max(last_s, end_s(begins[n + 1] - begins[n], speeds[n], threads[n]));
  const double all = std::accumulate(speeds.begin(), speeds.end(), 0.0);
  return std::max(0.0, 1 - static_cast<double>(units) / all / last_s);
}

Grain finer_grain(int64_t batch_size, int64_t unit_size, std::span<const double> speeds,
                  std::span<const int> threads, double enough) {
  const auto units_of = [&](int64_t size) { return (batch_size + size - 1) / size; };
  Grain best{0, grain_loss(units_of(unit_size), speeds, threads)};
  for (int64_t size = unit_size / 2; size >= 1 && best.loss > enough; size /= 2)
    if (const double loss = grain_loss(units_of(size), speeds, threads); loss < best.loss)
      best = {size, loss};
  return best;
}

}  // namespace lepton::balance
