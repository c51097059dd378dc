// SPDX-License-Identifier: Apache-2.0
// Stretches that begin and end anywhere: fetched and added as one by one.
#include "ops/broadcast_runs.h"

#include <gtest/gtest.h>

#include <numeric>

namespace lepton::ops {
namespace {

int64_t operand_place(const Broadcast& b, int64_t i) {
  int64_t from = 0;
  for (int d = b.dimensions - 1; d >= 0; --d) {
    from += i % b.size[d] * b.step[0][d];
    i /= b.size[d];
  }
  return from;
}

TEST(BroadcastRuns, AnyStretch) {
  for (const Shape& small :
       {Shape{3, 4, 5}, {1, 4, 5}, {3, 1, 5}, {3, 4, 1}, {3, 1, 1}, {1, 4, 1}, {1, 1, 1}})
    for (const bool per_sample : {true, false})
      for (const Layout layout : {Layout::plain, Layout::channels_last}) {
        const Broadcast b = broadcast_of(2, {3, 4, 5}, layout, {{small, per_sample}});
        std::vector<float> x(static_cast<size_t>(b.own[0]));
        std::iota(x.begin(), x.end(), 1.0f);
        for (const auto& [first, count] :
             {std::pair<int64_t, int64_t>{0, 120}, {7, 1}, {3, 58}, {60, 60}, {119, 1}}) {
          std::vector<float> y(static_cast<size_t>(count)), dx(x.size(), 0.0f), wanted(x.size(), 0.0f);
          fetch_stretch(b, 0, first, count, x.data(), y.data());
          for (int64_t i = 0; i < count; ++i) {
            const auto from = static_cast<size_t>(operand_place(b, first + i));
            EXPECT_EQ(y[static_cast<size_t>(i)], x[from]);
            wanted[from] += y[static_cast<size_t>(i)];
          }
          add_stretch(b, 0, first, count, y.data(), dx.data());
          EXPECT_EQ(dx, wanted);  // integers: exact in any order
        }
      }
}

}  // namespace
}  // namespace lepton::ops
