// SPDX-License-Identifier: Apache-2.0
// A stretch of a large array and what belongs to it of an operand that is broadcast over it: fetched, or the
// sum of what the stretch gives back. Sums are in the order of memory, runs of one element in lanes
// (ops/lane_sum), so bits depend on shapes alone. Used by elementwise.cpp and spread.cpp.
#pragma once

#include "ops/broadcast.h"

namespace lepton::ops {

constexpr int64_t stretch_most = 512;  ///< elements that callers take at once

/// y[i] = what operand `k`, which lies at x, has for element first + i, i < count.
void fetch_stretch(const Broadcast& broadcast, int k, int64_t first, int64_t count, const float* x, float* y);
/// The transpose: += in dx.
void add_stretch(const Broadcast& broadcast, int k, int64_t first, int64_t count, const float* dy, float* dx);

/// run(from, at, length): elements at .. at + length - 1 of the stretch belong to the operand's elements
/// from, from + step, ...
template <class Run>
void for_runs(const Broadcast& broadcast, int k, int64_t first, int64_t count, const Run& run) {
  const int last = broadcast.dimensions - 1;
  int64_t index[broadcast_most], rest = first, from = 0;
  for (int d = last; d >= 0; --d) {
    index[d] = rest % broadcast.size[d];
    rest /= broadcast.size[d];
    from += index[d] * broadcast.step[k][d];
  }
  for (int64_t at = 0; at < count;) {
    const int64_t left = broadcast.size[last] - index[last], length = left < count - at ? left : count - at;
    run(from, at, length);
    at += length;
    from -= index[last] * broadcast.step[k][last];
    index[last] = 0;
    for (int d = last - 1; d >= 0; --d) {
      from += broadcast.step[k][d];
      if (++index[d] < broadcast.size[d]) break;
      from -= broadcast.size[d] * broadcast.step[k][d];
      index[d] = 0;
    }
  }
}

}  // namespace lepton::ops
