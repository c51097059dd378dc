// SPDX-License-Identifier: Apache-2.0
// Speeds: an outlier changes nothing, a change is followed after two measurements, noise is averaged away and
// what remains of it within the slack is not published; nodes without units and nodes never measured; the
// same observations give the same bits.
#include "balance/speeds.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/philox.h"

namespace lepton::balance {
namespace {

using Counts = std::vector<int64_t>;
using Values = std::vector<double>;

/// One round: units done and seconds per unit and thread of each node.
void observe(Speeds& speeds, const Counts& units, const Values& unit_s) {
  Counts busy_ns(units.size());
  for (size_t n = 0; n < units.size(); ++n)
    busy_ns[n] = std::llround(static_cast<double>(units[n]) * unit_s[n] * 1e9);
  speeds.observe(units, busy_ns);
}

/// One round of a single node of one thread at this speed.
void measure(Speeds& speeds, double rate) {
  speeds.observe(Counts{1'000'000}, Counts{std::llround(1e15 / rate)});
}

Values current(const Speeds& speeds) {
  return {speeds.current().begin(), speeds.current().end()};
}

TEST(Speeds, BeginAsThreadCounts) {
  const Speeds speeds({1, 4, 2});
  EXPECT_EQ(current(speeds), (Values{1, 4, 2}));
  EXPECT_FALSE(speeds.measured());
  EXPECT_EQ(speeds.threads()[1], 4);
}

TEST(Speeds, AreUnitsPerSecondOfAllThreads) {
  Speeds speeds({1, 4});
  for (int round = 0; round < 3; ++round) {
    observe(speeds, {10, 10}, {0.01, 0.01});  // the first measurement counts as it is
    EXPECT_NEAR(speeds.current()[0], 100, 1e-6);
    EXPECT_NEAR(speeds.current()[1], 400, 1e-6);  // four threads at once
    EXPECT_TRUE(speeds.measured());
  }
}

TEST(Speeds, TwoMeasurementsCountByTheirMean) {
  Speeds speeds({1});
  measure(speeds, 100);
  measure(speeds, 118);
  EXPECT_NEAR(speeds.current()[0], 109 / 1.02, 1e-3);
}

TEST(Speeds, OneOutlierChangesNothing) {
  for (const int rounds : {3, 5, 8, 20})
    for (const double outlier : {1.0, 1e-5}) {
      Speeds speeds({1, 1});
      for (int round = 0; round < rounds; ++round) observe(speeds, {10, 10}, {0.01, 0.02});
      const Values before = current(speeds);
      observe(speeds, {10, 10}, {outlier, 0.02});
      EXPECT_EQ(current(speeds), before) << outlier;
      for (int round = 0; round < 20; ++round) {
        observe(speeds, {10, 10}, {0.01, 0.02});
        EXPECT_EQ(current(speeds), before) << outlier;
      }
    }
}

TEST(Speeds, OutliersOnBothSidesAreNoChange) {
  Speeds speeds({1});
  for (int round = 0; round < 9; ++round) measure(speeds, 100);
  measure(speeds, 30);
  measure(speeds, 300);
  EXPECT_NEAR(speeds.current()[0], 100, 1e-6);
}

TEST(Speeds, ChangesAreFollowedAfterTwoMeasurements) {
  for (const int rounds : {1, 3, 20})
    for (const double factor : {0.25, 0.7, 1.3, 4.0}) {
      Speeds speeds({1, 1});
      for (int round = 0; round < rounds; ++round) observe(speeds, {10, 10}, {0.01, 0.01});
      observe(speeds, {10, 10}, {0.01 / factor, 0.01});
      if (rounds > 1) {
        EXPECT_NEAR(speeds.current()[0], 100, 1e-6) << factor;
      }
      observe(speeds, {10, 10}, {0.01 / factor, 0.01});
      EXPECT_NEAR(speeds.current()[0], 100 * factor, rounds == 1 ? 7 * factor : 1e-6) << factor;
      EXPECT_NEAR(speeds.current()[1], 100, 1e-6);
    }
}

TEST(Speeds, AChangeIsFollowedFromTheMeanOfBothMeasurements) {
  Speeds speeds({1});
  for (int round = 0; round < 9; ++round) measure(speeds, 100);
  measure(speeds, 40);
  measure(speeds, 50);
  EXPECT_NEAR(speeds.current()[0], 45, 1e-6);
  measure(speeds, 45);  // the measurements before the change are gone
  EXPECT_NEAR(speeds.current()[0], 45, 1e-6);
}

TEST(Speeds, ASmallChangeIsFollowedByTheMajority) {
  Speeds speeds({1});
  for (int round = 0; round < 20; ++round) measure(speeds, 100);
  for (int round = 0; round < 2; ++round) measure(speeds, 110);
  EXPECT_NEAR(speeds.current()[0], 100, 1e-6);  // two are dropped
  for (int round = 0; round < 7; ++round) measure(speeds, 110);
  EXPECT_NEAR(speeds.current()[0], 110 / 1.02, 1e-3);
}

TEST(Speeds, ManyMeasurementsCountByTheMeanOfTheMiddleFive) {
  Speeds speeds({1});
  for (const double rate : {100, 100, 100, 100, 100, 94, 93, 92, 91}) measure(speeds, rate);
  EXPECT_NEAR(speeds.current()[0], 97.4 / 0.98, 1e-3);  // 93, 94, 100, 100, 100
}

TEST(Speeds, WithinTheSlackNothingIsPublished) {
  Speeds speeds({1});
  for (int round = 0; round < 9; ++round) measure(speeds, 100);
  for (const double rate : {101.9, 98.1}) {
    for (int round = 0; round < 20; ++round) measure(speeds, rate);
    EXPECT_NEAR(speeds.current()[0], 100, 1e-6);
  }
  for (int round = 0; round < 20; ++round) measure(speeds, 103);
  EXPECT_NEAR(speeds.current()[0], 103 / 1.02, 1e-3);
  for (int round = 0; round < 20; ++round) measure(speeds, 95);
  EXPECT_NEAR(speeds.current()[0], 95 / 0.98, 1e-3);
}

TEST(Speeds, NoiseOfFivePercentMovesThemLittle) {
  Speeds speeds({1});
  uint64_t random = 7;
  int64_t moved = 0;
  for (int round = 0; round < 2000; ++round) {
    double sum = 0;  // of twelve uniform numbers, less six: about normal, of deviation 1
    for (int i = 0; i < 12; ++i) sum += static_cast<double>((random = mix64(random)) >> 11) * 0x1p-53;
    const double before = speeds.current()[0];
    measure(speeds, 100 * (1 + 0.05 * (sum - 6)));
    if (round < 9) continue;
    moved += speeds.current()[0] != before;
    EXPECT_NEAR(speeds.current()[0], 100, 6);
  }
  EXPECT_LT(moved, 500);  // without slack: nearly always
  EXPECT_GT(moved, 0);
}

TEST(Speeds, ANodeWithoutUnitsKeepsItsSpeed) {
  Speeds speeds({1, 1});
  for (int round = 0; round < 3; ++round) observe(speeds, {10, 10}, {0.01, 0.05});
  for (int round = 0; round < 10; ++round) observe(speeds, {20, 0}, {0.01, 0});
  EXPECT_NEAR(speeds.current()[1], 20, 1e-6);
}

TEST(Speeds, ANodeNeverMeasuredIsTakenForAverage) {
  Speeds speeds({1, 2, 3});
  observe(speeds, {10, 10, 0}, {0.01, 0.01, 0});
  EXPECT_NEAR(speeds.current()[0], 100, 1e-6);
  EXPECT_NEAR(speeds.current()[1], 200, 1e-6);
  EXPECT_NEAR(speeds.current()[2], 300, 1e-6);  // 100 per thread
  observe(speeds, {10, 10, 30}, {0.01, 0.01, 0.1});
  EXPECT_NEAR(speeds.current()[2], 30, 1e-6);  // not averaged with what stood in
}

TEST(Speeds, NothingMeasuredChangesNothing) {
  Speeds speeds({2, 3});
  speeds.observe(Counts{0, 0}, Counts{0, 0});
  speeds.observe(Counts{0, 0}, Counts{5, 5});
  speeds.observe(Counts{5, 5}, Counts{0, 0});  // a clock that stood still
  EXPECT_EQ(current(speeds), (Values{2, 3}));
  EXPECT_FALSE(speeds.measured());
}

TEST(Speeds, AQuickerMeasurementIsShownUntilItIsConfirmedOrNot) {
  Speeds speeds({1});
  for (int round = 0; round < 9; ++round) measure(speeds, 100);
  for (const double rate : {119.0, 50.0}) {
    measure(speeds, rate);
    EXPECT_FALSE(speeds.quickened()[0]) << rate;
  }
  measure(speeds, 130);
  EXPECT_TRUE(speeds.quickened()[0]);
  speeds.observe(Counts{0}, Counts{0});
  EXPECT_TRUE(speeds.quickened()[0]);
  measure(speeds, 100);
  EXPECT_FALSE(speeds.quickened()[0]);
  measure(speeds, 130);
  measure(speeds, 900);  // more than a fifth above the mean of both, and yet confirmed
  EXPECT_FALSE(speeds.quickened()[0]);
  EXPECT_NEAR(speeds.current()[0], 515, 1e-3);
}

TEST(Speeds, TheSameObservationsGiveTheSameBits) {
  Speeds one({3, 1, 2}), other({3, 1, 2});
  uint64_t random = 3;
  for (int round = 0; round < 70; ++round) {
    Counts units, busy;
    for (int n = 0; n < 3; ++n) {
      units.push_back(static_cast<int64_t>((random = mix64(random)) % 8));
      busy.push_back(static_cast<int64_t>(1'000'003 + (random >> 40)));
    }
    one.observe(units, busy);
    other.observe(units, busy);
  }
  const Values a = current(one), b = current(other);
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(double)), 0);
}

}  // namespace
}  // namespace lepton::balance
