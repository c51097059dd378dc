// SPDX-License-Identifier: Apache-2.0
// Properties of the exact sum (10^5 tries each where chance matters): any partition and order of units gives
// one result, the boundary of overflow, every flipped bit is caught, accuracy, threads.
#include "exact/accumulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <thread>

#include "base/error.h"
#include "base/int128.h"
#include "exact/gradients.h"
#include "ops/quantise.h"

namespace lepton::exact {
namespace {

constexpr int tries = 100'000;

/// What the reduction between nodes does: sums and checksums are added, lanes merged.
void reduce(Node& to, Node& from) {
  const std::span<int64_t> sums = to.accumulator.elements(), checksums = to.accumulator.checksums();
  merge_words(sums, from.accumulator.elements(), sums.size());
  merge_words(checksums, from.accumulator.checksums(), checksums.size());
  to.lanes.merge(from.lanes);
}

void clear(Node& node, const ArenaLayout& layout) {
  for (int64_t b = 0; b < layout.blocks(); ++b) node.accumulator.clear(b);
  node.lanes.clear();
}

void random_partitions(const ArenaLayout& layout, int units, int trials) {
  Random random(11);
  std::vector<UnitGradients> gradients;
  std::vector<int> order;
  for (int unit = 0; unit < units; ++unit) {
    gradients.push_back(made_up_gradients(layout, random));
    order.push_back(unit);
  }
  const Scales scales(static_cast<int>(layout.tensors().size()));
  const int limit = limit_bits(units);
  Node reference(layout);
  for (int unit = 0; unit < units; ++unit) reference.add(gradients[unit], scales, limit, unit);
  std::vector<Node> nodes;
  for (int n = 0; n < 4; ++n) nodes.emplace_back(layout);
  for (int trial = 0; trial < trials; ++trial) {
    random.shuffle(order);
    const int64_t parts = 1 + random.below(4);
    for (Node& node : nodes) clear(node, layout);
    for (const int unit : order)
      nodes[random.below(parts)].add(gradients[unit], scales, limit, unit, static_cast<int>(random.below(9)));
    for (int64_t n = 1; n < parts; ++n) reduce(nodes[0], nodes[n]);
    ASSERT_TRUE(std::ranges::equal(nodes[0].accumulator.elements(), reference.accumulator.elements()));
    ASSERT_TRUE(std::ranges::equal(nodes[0].accumulator.checksums(), reference.accumulator.checksums()));
    ASSERT_TRUE(std::ranges::equal(nodes[0].lanes.values(), reference.lanes.values()));
    for (int64_t b = 0; b < layout.blocks(); ++b) ASSERT_TRUE(nodes[0].accumulator.intact(b));
  }
}

TEST(Accumulator, AnyPartitionAndOrderGivesOneResult) {
  random_partitions(layout_of({7, 1, 33}), 12, tries);
}

TEST(Accumulator, AlsoOverSeveralBlocks) {
  random_partitions(layout_of({5000, 3, 9000}), 8, 200);
}

TEST(Accumulator, ThreadsGiveTheSameAsOne) {
  const ArenaLayout layout = layout_of({40'000, 10, 4096, 8191});
  Random random(12);
  constexpr int units = 24, threads = 4;
  std::vector<UnitGradients> gradients;
  for (int unit = 0; unit < units; ++unit) gradients.push_back(made_up_gradients(layout, random));
  const Scales scales(4);
  const int limit = limit_bits(units);
  Node serial(layout);
  for (int unit = 0; unit < units; ++unit) serial.add(gradients[unit], scales, limit, unit);
  for (int trial = 0; trial < 20; ++trial) {
    Node shared(layout);
    std::vector<Lanes> lanes(threads, shared.lanes);
    std::vector<std::thread> team;
    for (int thread = 0; thread < threads; ++thread)
      team.emplace_back([&, thread] {
        for (int unit = thread; unit < units; unit += threads)
          shared.add(gradients[unit], scales, limit, unit, trial % 2 ? 0 : thread, lanes[thread]);
      });
    for (std::thread& thread : team) thread.join();
    for (const Lanes& part : lanes) shared.lanes.merge(part);
    ASSERT_TRUE(std::ranges::equal(shared.accumulator.elements(), serial.accumulator.elements()));
    ASSERT_TRUE(std::ranges::equal(shared.lanes.values(), serial.lanes.values()));
    for (int64_t b = 0; b < layout.blocks(); ++b) ASSERT_TRUE(shared.accumulator.intact(b));
  }
}

TEST(Accumulator, TheBoundaryOfOverflow) {
  const ArenaLayout layout = layout_of({3});
  for (const int64_t units : {1L, 2L, 3L, 64L, 2048L, 2049L, 1'000'000L}) {
    const int limit = limit_bits(units);
    for (const int magnitude : {-100, -3, 0, 40}) {
      Scales scales(1);
      scales.settle(std::span(&magnitude, 1), limit);
      const float boundary = std::ldexp(1.0f, limit - scales.current()[0]);
      const float below = std::nextafterf(boundary, 0.0f), above = std::nextafterf(boundary, HUGE_VALF);
      for (const float value : {below, -below}) {
        Node node(layout);
        for (int64_t unit = 0; unit < std::min<int64_t>(units, 3000); ++unit)
          node.add({{value, 0, value}}, scales, limit, unit);
        ASSERT_FALSE(node.lanes.overflow());
        const auto q = static_cast<int64_t>(std::ldexp(static_cast<double>(value), scales.current()[0]));
        ASSERT_EQ(node.accumulator.elements()[2], q * std::min<int64_t>(units, 3000));
        ASSERT_LE(static_cast<int128>(std::abs(q)) * units, static_cast<int128>(INT64_MAX));
      }
      for (const float value : {boundary, -boundary, above}) {
        Node node(layout);
        node.add({{0, value, 1e-30f}}, scales, limit, 0);
        ASSERT_TRUE(node.lanes.overflow());
        ASSERT_EQ(node.accumulator.elements()[1], 0);  // flagged, not added
        ASSERT_EQ(node.lanes.magnitude_bits(0),
                  std::bit_cast<uint32_t>(std::fabs(value)));  // and M is complete
      }
    }
  }
}

TEST(Accumulator, NonFiniteValuesAreFlaggedWithUnitAndPlaceNotAdded) {
  const ArenaLayout layout = layout_of({10, 6000});
  for (const float bad : {HUGE_VALF, -HUGE_VALF, std::nanf("")}) {
    Node node(layout);
    std::vector<float> values(6000, 1.0f);
    values[5000] = bad;
    node.accumulator.add(1, 0, values, 20, 0x7f800000, 0, 17, 5, node.lanes);
    EXPECT_TRUE(node.lanes.non_finite());
    EXPECT_FALSE(node.lanes.overflow());
    EXPECT_EQ(node.lanes.first_non_finite_unit(), 17);
    EXPECT_EQ(node.lanes.first_non_finite_place(), 5);
    for (int64_t b = 0; b < layout.blocks(); ++b) EXPECT_TRUE(node.accumulator.intact(b));
    EXPECT_LT(node.lanes.magnitude_bits(1), 0x7f800000);
  }
}

TEST(Accumulator, TensorsInPartsGiveTheSameSums) {
  const ArenaLayout layout = layout_of({10, 20000, 7});
  std::vector<float> values(20000);
  Random random(5);
  for (float& value : values) value = static_cast<float>(random.uniform()) - 0.5f;
  Node whole(layout);
  whole.accumulator.add(1, 0, values, 20, 0x7f800000, 3, 0, 0, whole.lanes);
  for (const int64_t part : {1, 7, 4096, 4097, 9999}) {
    Node parts(layout);
    for (int64_t first = 0; first < 20000; first += part)
      parts.accumulator.add(1, first,
                            std::span<const float>(values).subspan(first, std::min(part, 20000 - first)), 20,
                            0x7f800000, static_cast<int>(first % 5), 0, 0, parts.lanes);
    EXPECT_TRUE(std::ranges::equal(whole.accumulator.elements(), parts.accumulator.elements())) << part;
    EXPECT_TRUE(std::ranges::equal(whole.accumulator.checksums(), parts.accumulator.checksums())) << part;
    EXPECT_TRUE(std::ranges::equal(whole.lanes.values(), parts.lanes.values())) << part;
  }
}

TEST(Accumulator, ElementsOutsideTheTensorAreRefused) {
  const ArenaLayout layout = layout_of({10});
  Node node(layout);
  for (const int64_t first : {-1, 2, 10})
    EXPECT_THROW(node.accumulator.add(0, first, std::vector<float>(9), 0, 1, 0, 0, 0, node.lanes), Error);
}

/// Flips one random bit of `words`.
void flip(std::span<int64_t> words, Random& random) {
  int64_t& word = words[random.below(static_cast<int64_t>(words.size()))];
  word = static_cast<int64_t>(static_cast<uint64_t>(word) ^ (uint64_t{1} << random.below(64)));
}

bool all_intact(const Accumulator& accumulator, const ArenaLayout& layout) {
  for (int64_t b = 0; b < layout.blocks(); ++b)
    if (!accumulator.intact(b)) return false;
  return true;
}

TEST(Checksum, EveryFlippedBitIsCaughtWhereverItHappens) {
  const ArenaLayout layout = layout_of({20, 5, 60});
  Random random(13);
  const Scales scales(3);
  const int limit = limit_bits(8);
  std::vector<UnitGradients> gradients;
  for (int unit = 0; unit < 8; ++unit) gradients.push_back(made_up_gradients(layout, random));
  Node here(layout), there(layout);
  for (int trial = 0; trial < tries; ++trial) {
    clear(here, layout);
    clear(there, layout);
    const int64_t stage = random.below(4);
    here.add(gradients[0], scales, limit, 0);
    if (stage == 0) flip(here.accumulator.elements(), random);  // in the accumulator, between two units
    here.add(gradients[1 + trial % 3], scales, limit, 1);
    there.add(gradients[4 + trial % 4], scales, limit, 2);
    if (stage == 1) flip(there.accumulator.elements(), random);   // sums on their way
    if (stage == 2) flip(there.accumulator.checksums(), random);  // checksums on their way
    reduce(here, there);
    if (stage == 3) flip(here.accumulator.elements(), random);  // in the reduced sum
    ASSERT_FALSE(all_intact(here.accumulator, layout)) << "stage " << stage;
  }
}

TEST(Checksum, FoldingTwoDomainsKeepsIt) {
  const ArenaLayout layout = layout_of({5000});
  Random random(14);
  Node a(layout), b(layout), both(layout);
  const Scales scales(1);
  for (int unit = 0; unit < 4; ++unit) {
    const UnitGradients gradients = made_up_gradients(layout, random);
    (unit % 2 ? a : b).add(gradients, scales, 51, unit);
    both.add(gradients, scales, 51, unit);
  }
  for (int64_t block = 0; block < layout.blocks(); ++block) a.accumulator.fold(block, b.accumulator);
  EXPECT_TRUE(std::ranges::equal(a.accumulator.elements(), both.accumulator.elements()));
  EXPECT_TRUE(all_intact(a.accumulator, layout));
}

/// value * 2^100 as an integer; exact for the made-up gradients.
int128 fixed_point(float value) {
  int exponent = 0;
  const float mantissa = std::frexp(value, &exponent);
  return static_cast<int128>(std::ldexp(mantissa, 24)) << (exponent - 24 + 100);
}

TEST(Accuracy, IsOneRoundingOrUnitsTimes2ToMinus40OfTheLargest) {
  const ArenaLayout layout = layout_of({2000});
  Random random(15);
  for (const int units : {1, 4, 64, 512}) {
    for (const int drift :
         {-headroom_bits, -1, 0, 3, coarse_bits}) {  // the scale is of an earlier, larger step
      std::vector<int128> exact(2000, 0);
      std::vector<UnitGradients> gradients;
      float largest = 0;
      for (int unit = 0; unit < units; ++unit) {
        gradients.push_back(made_up_gradients(layout, random, 40));
        for (size_t i = 0; i < 2000; ++i) {
          exact[i] += fixed_point(gradients[unit][0][i]);
          largest = std::max(largest, std::fabs(gradients[unit][0][i]));
        }
      }
      const int limit = limit_bits(units);
      const int magnitude = magnitude_exponent(std::bit_cast<uint32_t>(largest)), earlier = magnitude + drift;
      Scales scales(1);
      scales.settle(std::span(&earlier, 1), limit);
      Node node(layout);
      for (int unit = 0; unit < units; ++unit) node.add(gradients[unit], scales, limit, unit);
      ASSERT_FALSE(node.lanes.overflow());
      const int scale = scales.current()[0];
      ASSERT_EQ(scales.settle(std::span(&magnitude, 1), limit), ScaleVerdict::accept);
      std::vector<float> sum(2000);
      ops::dequantise(node.accumulator.elements().first(2000), scale, sum);
      for (size_t i = 0; i < 2000; ++i) {
        const long double reference = std::ldexp(static_cast<long double>(exact[i]), -100);
        const long double error = std::fabs(static_cast<long double>(sum[i]) - reference);
        const float rounding = std::nextafterf(std::fabs(sum[i]), HUGE_VALF) - std::fabs(sum[i]);
        ASSERT_LE(error, std::max<long double>(rounding,
                                               std::ldexp(static_cast<long double>(largest), -40) * units));
      }
    }
  }
}

}  // namespace
}  // namespace lepton::exact
