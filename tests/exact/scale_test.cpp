// SPDX-License-Identifier: Apache-2.0
// Scales: limits, the boundary of overflow, redo and accept, over all magnitudes that float32 has.
#include "exact/scale.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/int128.h"

namespace lepton::exact {
namespace {

TEST(Limit, LeavesRoomForAllUnits) {
  EXPECT_EQ(limit_bits(1), 51);
  EXPECT_EQ(limit_bits(2048), 51);
  EXPECT_EQ(limit_bits(2049), 50);
  EXPECT_EQ(limit_bits(4096), 50);
  EXPECT_EQ(limit_bits(int64_t{1} << 20), 42);
  for (const int64_t units : {1L, 2L, 3L, 1000L, 2048L, 2049L, 1000000L})
    EXPECT_LE(static_cast<int128>(units) << limit_bits(units), static_cast<int128>(1) << 62);
  EXPECT_THROW(limit_bits(0), Error);
}

TEST(Magnitude, IsTheExponent) {
  EXPECT_EQ(magnitude_exponent(0), no_magnitude);
  EXPECT_EQ(magnitude_exponent(std::bit_cast<uint32_t>(1.0f)), 0);
  EXPECT_EQ(magnitude_exponent(std::bit_cast<uint32_t>(1.99f)), 0);
  EXPECT_EQ(magnitude_exponent(std::bit_cast<uint32_t>(2.0f)), 1);
  EXPECT_EQ(magnitude_exponent(1), -127);  // the smallest subnormal
  EXPECT_EQ(magnitude_exponent(0x7f7fffff), 127);
  EXPECT_THROW(magnitude_exponent(0x7f800000), Error);
}

/// Scales of one tensor that were settled at this magnitude.
Scales settled_at(int magnitude, int limit) {
  Scales scales(1);
  scales.settle(std::span(&magnitude, 1), limit);
  return scales;
}

TEST(Scales, OverflowBoundaryIsExact) {
  for (const int64_t units : {1L, 64L, 2048L, 5000L, 1000000L}) {
    const int limit = limit_bits(units);
    for (int magnitude = -127; magnitude <= 127; ++magnitude) {
      const Scales scales = settled_at(magnitude, limit);
      const uint32_t boundary = scales.overflow_bits(0, limit);
      const auto fits = [&](uint32_t bits) {  // by the definition, |g| 2^s < 2^limit
        return std::ldexp(static_cast<double>(std::bit_cast<float>(bits)), scales.current()[0]) <
               std::ldexp(1.0, limit);
      };
      EXPECT_TRUE(fits(boundary - 1));
      if (boundary < 0x7f800000) {
        EXPECT_FALSE(fits(boundary));
      }
    }
  }
}

TEST(Scales, OverflowAlwaysMeansRedo) {
  const int limit = limit_bits(100);
  for (int before = -127; before <= 127; ++before)
    for (int now = -127; now <= 127; ++now) {
      Scales scales = settled_at(before, limit);
      const uint32_t largest =
          now == -127 ? 0x007fffff : (static_cast<uint32_t>(now + 127) << 23) | 0x007fffff;
      const uint32_t smallest = now == -127 ? 1 : static_cast<uint32_t>(now + 127) << 23;
      const bool overflows = largest >= scales.overflow_bits(0, limit);
      if (now != -127) {
        EXPECT_EQ(overflows, smallest >= scales.overflow_bits(0, limit));  // decided by M alone
      }
      const ScaleVerdict verdict = scales.settle(std::span(&now, 1), limit);
      EXPECT_EQ(verdict == ScaleVerdict::redo, now > before + headroom_bits || now < before - coarse_bits);
      if (overflows) {
        EXPECT_EQ(verdict, ScaleVerdict::redo);
      }
      EXPECT_EQ(scales.settle(std::span(&now, 1), limit), ScaleVerdict::accept);  // at most one redo
      EXPECT_EQ(scales.current()[0], scale_for(now, limit));
    }
}

TEST(Scales, TheFirstAttemptIsNormallyRedone) {
  Scales scales(2);
  const std::vector<int> magnitudes = {-12, -9};
  EXPECT_EQ(scales.settle(magnitudes, 51), ScaleVerdict::redo);
  EXPECT_EQ(scales.settle(magnitudes, 51), ScaleVerdict::accept);
}

TEST(Scales, AZeroTensorKeepsItsScale) {
  Scales scales(2);
  const std::vector<int> both = {-20, 5};
  scales.settle(both, 51);
  const int kept = scales.current()[1];
  const std::vector<int> zero = {-20, no_magnitude};
  EXPECT_EQ(scales.settle(zero, 51), ScaleVerdict::accept);
  EXPECT_EQ(scales.current()[1], kept);
}

TEST(Scales, AnotherNumberOfUnitsNeedsNoRedo) {  // the short last batch
  for (const auto& [from, to] : {std::pair{4096L, 10L}, {10L, 4096L}, {2049L, 2048L}}) {
    Scales scales = settled_at(3, limit_bits(from));
    const int magnitude = 3;
    EXPECT_EQ(scales.settle(std::span(&magnitude, 1), limit_bits(to)), ScaleVerdict::accept);
  }
}

TEST(Scales, AreRunState) {
  const Scales scales = settled_at(-30, 51);
  Scales other(1);
  EXPECT_NE(other.hash(), scales.hash());
  other.restore(scales.state());
  EXPECT_EQ(other.hash(), scales.hash());
  EXPECT_EQ(other.current()[0], scales.current()[0]);
  EXPECT_THROW(other.restore(std::vector<int>(2)), Error);
}

}  // namespace
}  // namespace lepton::exact
