// SPDX-License-Identifier: Apache-2.0
// Fetching and summing stretches; see the header.
#include "ops/broadcast_runs.h"

#include <algorithm>

#include "base/simd.h"
#include "ops/lane_sum.h"

namespace lepton::ops {

namespace {

LEPTON_SIMD float sum_of_run(int64_t count, const float* x) {
  return lane_sum(
      count, [=](int64_t i) __attribute__((always_inline)) { return x[i]; });
}

}  // namespace

void fetch_stretch(const Broadcast& broadcast, int k, int64_t first, int64_t count, const float* x,
                   float* y) {
  const int64_t step = broadcast.step[k][broadcast.dimensions - 1];
  for_runs(broadcast, k, first, count, [&](int64_t from, int64_t at, int64_t length) {
    if (step == 0)
      std::fill_n(y + at, length, x[from]);
    else if (step == 1)
      std::copy_n(x + from, length, y + at);
    else
      for (int64_t i = 0; i < length; ++i) y[at + i] = x[from + i * step];
  });
}

void add_stretch(const Broadcast& broadcast, int k, int64_t first, int64_t count, const float* dy,
                 float* dx) {
  const int64_t step = broadcast.step[k][broadcast.dimensions - 1];
  for_runs(broadcast, k, first, count, [&](int64_t from, int64_t at, int64_t length) {
    if (step == 0)
      dx[from] += sum_of_run(length, dy + at);
    else
      for (int64_t i = 0; i < length; ++i) dx[from + i * step] += dy[at + i];
  });
}

}  // namespace lepton::ops
