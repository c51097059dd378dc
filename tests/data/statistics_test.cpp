// SPDX-License-Identifier: Apache-2.0
// Every path of the sums gives what ExactSum gives, bit by bit, in any order, for every stored type.
#include "data/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <random>

#include "data/row_check.h"
#include "stored_rows.h"

namespace lepton::data {
namespace {

using testing::stored_bytes;

/// Values that the type holds, of all sizes, negative ones included.
std::vector<double> values_of(const storage::StoredType& type, size_t n, std::mt19937_64& random) {
  std::vector<double> values;
  using Kind = storage::StoredType::Kind;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t bits = random();
    const int width = 8 * type.bytes;
    double value = 0;
    if (type.kind == Kind::unsigned_integer) {
      value = static_cast<double>((bits >> (64 - width)) >> (random() % static_cast<uint64_t>(width)));
    } else if (type.kind == Kind::signed_integer) {
      value = static_cast<double>((static_cast<int64_t>(bits) >> (64 - width)) >>
                                  (random() % static_cast<uint64_t>(width)));
    } else {
      const int range = type.bytes == 2 ? 13 : type.bytes == 4 ? 126 : 300;
      const int exponent = static_cast<int>(random() % static_cast<uint64_t>(2 * range)) - range;
      value = std::ldexp(static_cast<double>(static_cast<int64_t>(bits)) * 0x1p-63, exponent);
    }
    values.push_back(random() % 10 == 0 ? 0 : value);
  }
  return values;
}

struct Reference {
  ExactSum sum, square;
  double low = HUGE_VAL, high = -HUGE_VAL;
};

TEST(StatisticsSums, EqualExactSumForEveryTypeAndMap) {
  std::mt19937_64 random(1);
  const std::vector<GroupMap> maps = {{12, 12, 1}, {12, 3, 1}, {12, 3, 4}, {12, 1, 12}, {1, 1, 1}};
  for (const storage::StoredType& type : testing::all_types())
    for (const GroupMap& map : maps) {
      const size_t n = static_cast<size_t>(map.elements), rows = 200;
      const auto bytes = stored_bytes(type, values_of(type, rows * n, random));
      std::vector<Reference> reference(static_cast<size_t>(map.groups));
      StatisticsSums forward(map, type), backward(map, type);
      const size_t row_bytes = n * static_cast<size_t>(type.bytes);
      for (size_t row = 0; row < rows; ++row) {
        const std::byte* at = bytes.data() + row * row_bytes;
        for (size_t i = 0; i < n; ++i) {
          const double value =
              stored_number(type, at, static_cast<int64_t>(i));  // as it was rounded when stored
          Reference& group = reference[static_cast<size_t>(map.group(static_cast<int64_t>(i)))];
          group.sum.add(value);
          group.square.add_product(value, value);
          group.low = std::min(group.low, value);
          group.high = std::max(group.high, value);
        }
        forward.add_row(at);
        backward.add_row(bytes.data() + (rows - 1 - row) * row_bytes);
      }
      for (int64_t group = 0; group < map.groups; ++group) {
        const Reference& expected = reference[static_cast<size_t>(group)];
        for (StatisticsSums* sums : {&forward, &backward}) {
          EXPECT_EQ(sums->sums(group)[0], expected.sum) << type.text();
          EXPECT_EQ(sums->sums(group)[1], expected.square) << type.text();
          EXPECT_EQ(sums->extremes(group), (std::array{expected.low, expected.high})) << type.text();
        }
      }
    }
}

TEST(StatisticsSums, ManyRowsOfLargestValues) {
  // More rows than the per-element sums of small integers take before they are folded.
  for (const storage::StoredType& type : testing::all_types()) {
    if (type.kind == storage::StoredType::Kind::floating || type.bytes > 2) continue;
    const bool is_signed = type.kind == storage::StoredType::Kind::signed_integer;
    const double largest = std::ldexp(1, 8 * type.bytes - (is_signed ? 1 : 0)) - 1;
    const double extreme = is_signed ? -largest - 1 : largest;
    const auto row = stored_bytes(type, {extreme, extreme});
    StatisticsSums sums({2, 1, 2}, type);
    const int rows = 200000;
    for (int i = 0; i < rows; ++i) sums.add_row(row.data());
    EXPECT_EQ(sums.sums(0)[0].value(), 2 * rows * extreme) << type.text();
    EXPECT_EQ(sums.sums(0)[1].value(), 2 * rows * extreme * extreme) << type.text();
    EXPECT_EQ(sums.extremes(0), (std::array{extreme, extreme}));
  }
}

TEST(StatisticsSums, GroupsOfLayouts) {
  const GroupMap features = GroupMap::of({7}, ImageLayout::none),
                 grey = GroupMap::of({1, 4, 5}, ImageLayout::hw);
  EXPECT_EQ(features.groups, 7);
  EXPECT_EQ(features.group(6), 6);
  EXPECT_EQ(grey.groups, 1);
  EXPECT_EQ(grey.group(19), 0);
  const GroupMap planes = GroupMap::of({3, 4, 5}, ImageLayout::chw),
                 pixels = GroupMap::of({3, 4, 5}, ImageLayout::hwc);
  EXPECT_EQ(planes.group(20), 1);
  EXPECT_EQ(planes.group(59), 2);
  EXPECT_EQ(pixels.group(20), 2);
  EXPECT_EQ(pixels.group(59), 2);
  EXPECT_EQ(pixels.group(57), 0);
}

/// CPU time of this thread: other processes on the machine do not count.
double cpu_s() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double milliseconds_per_run(const storage::StoredType& type, const GroupMap& map, int rows) {
  const size_t n = static_cast<size_t>(map.elements);
  std::mt19937_64 random(2);
  std::vector<double> values(n);
  for (double& value : values) value = static_cast<double>(random() % 256);
  const auto row = stored_bytes(type, values);
  std::vector<std::byte> all;
  for (int i = 0; i < rows; ++i) all.insert(all.end(), row.begin(), row.end());
  const double begin = cpu_s();
  StatisticsSums sums(map, type);
  for (int i = 0; i < rows; ++i) sums.add_row(all.data() + static_cast<size_t>(i) * row.size());
  EXPECT_GT(sums.sums(0)[0].value(), 0);
  return (cpu_s() - begin) * 1e3;
}

TEST(StatisticsSums, Speed) {
  // 60,000 x 784 bytes take some 30 ms on one core; the bound leaves room for a loaded machine and
  // sanitizers.
  const double grey = milliseconds_per_run(testing::u8, {784, 1, 784}, 60000);
  const double features = milliseconds_per_run(testing::u8, {784, 784, 1}, 60000);
  const double floats = milliseconds_per_run(testing::f32, {784, 784, 1}, 6000);
  std::printf(
      "uint8 60000 x 784: one group %.0f ms, by feature %.0f ms; float32 6000 x 784 by feature %.0f ms\n",
      grey, features, floats);
#ifndef __SANITIZE_ADDRESS__
  EXPECT_LT(grey, 300);
  EXPECT_LT(features, 300);
#endif
}

}  // namespace
}  // namespace lepton::data
