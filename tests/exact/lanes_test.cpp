// SPDX-License-Identifier: Apache-2.0
// Lanes: merging in any order gives one result; units lost, doubled or swapped show; flags and votes.
#include "exact/lanes.h"

#include <gtest/gtest.h>

#include "exact/gradients.h"

namespace lepton::exact {
namespace {

TEST(UnitHash, DependsOnKindStepAttemptAndUnitButNotOnTheRound) {
  const RoundId id{1, RoundKind::train, 5, 0};
  EXPECT_EQ(unit_hash(id, 3), unit_hash({99, RoundKind::train, 5, 0}, 3));
  EXPECT_NE(unit_hash(id, 3), unit_hash({1, RoundKind::test, 5, 0}, 3));
  EXPECT_NE(unit_hash(id, 3), unit_hash({1, RoundKind::train, 6, 0}, 3));
  EXPECT_NE(unit_hash(id, 3), unit_hash({1, RoundKind::train, 5, 1}, 3));
  EXPECT_NE(unit_hash(id, 3), unit_hash(id, 4));
}

TEST(UnitHash, ALostDoubledOrSwappedUnitIsCaught) {
  Random random(1);
  for (int trial = 0; trial < 100'000; ++trial) {
    const RoundId id{trial, RoundKind::train, trial, static_cast<int>(random.below(2))};
    const int64_t count = 1 + random.below(32), victim = random.below(count), other = random.below(count);
    const int64_t fault = random.below(3);  // lost, doubled, `other` taken instead of `victim`
    if (fault == 2 && victim == other) continue;
    Lanes lanes(0, 1, 0, 0);
    for (int64_t unit = 0; unit < count; ++unit)
      if (unit != victim || fault == 1) lanes.add_unit(unit_hash(id, unit));
    if (fault == 1) lanes.add_unit(unit_hash(id, victim));
    if (fault == 2) lanes.add_unit(unit_hash(id, other));
    const bool count_right = lanes.units() == count;
    ASSERT_EQ(count_right, fault == 2);
    ASSERT_NE(lanes.unit_hash_sum(), expected_unit_hash(id, count));
  }
}

/// Lanes with something random in every place.
Lanes random_lanes(Random& random) {
  Lanes lanes(3, 2, 2, 4);
  for (int64_t unit = random.below(3); unit >= 0; --unit) lanes.add_unit(random.next());
  lanes.checksum_failures() += random.below(2);
  lanes.stop_votes() += random.below(2);
  for (int i = 0; i < 4; ++i) lanes.count(i) += random.below(100);
  for (int i = 0; i < 2; ++i) {
    ExactSum sum;
    for (int64_t n = random.below(5); n > 0; --n)
      sum.add(std::ldexp(random.uniform(), static_cast<int>(random.below(200)) - 100));
    lanes.add_exact(i, sum);
  }
  for (int t = 0; t < 3; ++t) lanes.raise_magnitude(t, random.below(1 << 30));
  lanes.node_units(static_cast<int>(random.below(2))) += 3;
  lanes.node_taken(static_cast<int>(random.below(2))) += random.below(4);
  lanes.raise_units_ns(random.below(1'000'000));
  if (random.below(4) == 0) lanes.flag_non_finite(random.below(1000), static_cast<int>(random.below(50)));
  if (random.below(4) == 0) lanes.flag_overflow();
  if (random.below(2) == 0) lanes.state_parameters(42);
  return lanes;
}

TEST(Lanes, AnyOrderOfMergingGivesOneResult) {
  Random random(2);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<Lanes> parts;
    for (int64_t n = 2 + random.below(6); n > 0; --n) parts.push_back(random_lanes(random));
    Lanes first(3, 2, 2, 4);
    for (const Lanes& part : parts) first.merge(part);
    random.shuffle(parts);
    while (parts.size() > 1) {  // a random tree
      const size_t i = static_cast<size_t>(random.below(static_cast<int64_t>(parts.size()) - 1));
      parts[i].merge(parts.back());
      parts.pop_back();
    }
    ASSERT_TRUE(std::ranges::equal(parts[0].values(), first.values()));
    ASSERT_EQ(parts[0].exact(1).value(), first.exact(1).value());
  }
}

TEST(Lanes, TalliesStandInFrontAndAreAdded) {
  Lanes a(1, 1, 1, 2, 3), b(1, 1, 1, 2, 3);
  EXPECT_FALSE(a.tallied());
  a.count(1) = 5;
  b.count(1) = 6;
  b.tallies()[2] = 7;
  a.merge(b);
  EXPECT_TRUE(a.tallied());
  EXPECT_EQ(a.tallies()[2], 7);
  EXPECT_EQ(a.count(1), 11);
  EXPECT_EQ(a.values()[2], 7);
  EXPECT_EQ(a.tally_count(), 3u);
  EXPECT_EQ(a.values().size(), Lanes(1, 1, 1, 2).values().size() + 3);
  a.clear();
  EXPECT_FALSE(a.tallied());
  EXPECT_TRUE(std::ranges::equal(a.values(), Lanes(1, 1, 1, 2, 3).values()));
}

TEST(Lanes, UnitsTakenAreAddedAndTheLongestTimeIsKept) {
  Lanes a(1, 2, 1, 1), b(1, 2, 1, 1);
  a.node_taken(0) += 2;
  a.node_taken(1) += 3;
  a.raise_units_ns(500);
  a.raise_units_ns(400);
  b.node_taken(1) += 4;
  b.raise_units_ns(700);
  a.merge(b);
  EXPECT_EQ(a.node_taken(0), 2);
  EXPECT_EQ(a.node_taken(1), 7);
  EXPECT_EQ(a.node_units(1) + a.node_busy_ns(0), 0);  // lanes of their own
  EXPECT_EQ(a.units_ns(), 700);
  EXPECT_FALSE(a.overflow() || a.non_finite());
  EXPECT_EQ(a.magnitude_bits(0), 0);
}

TEST(Lanes, ExactSumsDoNotDependOnWhoAddedWhat) {
  Random random(3);
  std::vector<double> values(200);
  for (double& value : values)
    value = std::ldexp(random.uniform(), static_cast<int>(random.below(600)) - 300);
  ExactSum whole;
  for (const double value : values) whole.add(value);
  whole.normalise();
  for (int trial = 0; trial < 100; ++trial) {
    random.shuffle(values);
    Lanes lanes(0, 1, 1, 0);
    for (size_t at = 0; at < values.size();) {
      ExactSum part;
      for (int64_t n = random.below(20); n >= 0 && at < values.size(); --n) part.add(values[at++]);
      lanes.add_exact(0, part);
    }
    ASSERT_EQ(lanes.exact(0), whole);
  }
}

TEST(Lanes, TheLowestNonFinitePlaceWins) {
  Lanes a(1, 1, 0, 0), b(1, 1, 0, 0);
  EXPECT_FALSE(a.non_finite());
  a.flag_non_finite(7, 3);
  b.flag_non_finite(7, 2);
  b.flag_non_finite(9, 0);
  a.merge(b);
  EXPECT_TRUE(a.non_finite());
  EXPECT_EQ(a.first_non_finite_unit(), 7);
  EXPECT_EQ(a.first_non_finite_place(), 2);
  a.flag_non_finite(0, 0);
  EXPECT_EQ(a.first_non_finite_unit(), 0);
  EXPECT_EQ(a.first_non_finite_place(), 0);
}

TEST(Lanes, StatedChecksumsAreCompared) {
  Random random(4);
  for (const uint64_t checksum :
       {uint64_t{0}, ~uint64_t{0}, uint64_t{1} << 63, ~(uint64_t{1} << 63), random.next()}) {
    for (int bit = 0; bit < 64; ++bit) {
      Lanes lanes(0, 1, 0, 0), same(0, 1, 0, 0), silent(0, 1, 0, 0), different(0, 1, 0, 0);
      lanes.state_parameters(checksum);
      same.state_parameters(checksum);
      lanes.merge(same);
      lanes.merge(silent);
      ASSERT_TRUE(lanes.parameters_equal());
      different.state_parameters(checksum ^ (uint64_t{1} << bit));
      lanes.merge(different);
      ASSERT_FALSE(lanes.parameters_equal());
    }
  }
  EXPECT_TRUE(Lanes(0, 1, 0, 0).parameters_equal());
}

TEST(Lanes, ClearedLanesAreTheIdentity) {
  Random random(5);
  Lanes lanes = random_lanes(random), copy = lanes, empty = random_lanes(random);
  empty.clear();
  lanes.merge(empty);
  EXPECT_TRUE(std::ranges::equal(lanes.values(), copy.values()));
  empty.merge(copy);
  EXPECT_TRUE(std::ranges::equal(empty.values(), copy.values()));
}

}  // namespace
}  // namespace lepton::exact
