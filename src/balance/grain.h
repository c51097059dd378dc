// SPDX-License-Identifier: Apache-2.0
// Grain: what whole units cost. No plan and no stealing can do better than the best plan of whole units;
// where a step has few units per thread, that leaves threads idle, and only smaller units help. Pure
// functions, for warnings and predictions.
#pragma once

#include <cstdint>
#include <span>

namespace lepton::balance {

/// Of all threads' time, what the best plan leaves idle: nodes of these speeds (units per second of all their
/// threads together), from 0 to 1.
double grain_loss(int64_t units, std::span<const double> speeds, std::span<const int> threads);

struct Grain {
  int64_t unit_size = 0;  ///< 0: no smaller one loses less
  double loss = 0;
};
/// The largest smaller unit size, by halves of `unit_size`, whose loss is at most `enough`; else the one that
/// loses least. A unit is taken to cost time in proportion to its samples.
Grain finer_grain(int64_t batch_size, int64_t unit_size, std::span<const double> speeds,
                  std::span<const int> threads, double enough = 0.05);

}  // namespace lepton::balance
