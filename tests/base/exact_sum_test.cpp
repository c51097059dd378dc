// SPDX-License-Identifier: Apache-2.0
// ExactSum is correctly rounded and independent of order and partition. References that share nothing with
// it: 128-bit integers, Shewchuk's expansions (as in Python's math.fsum), and sums known by construction.
#include "base/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace lepton {
namespace {

constexpr double smallest = std::numeric_limits<double>::denorm_min();
constexpr double largest = std::numeric_limits<double>::max();

ExactSum sum_of(const std::vector<double>& values) {
  ExactSum sum;
  for (const double value : values) sum.add(value);
  return sum;
}

/// Shewchuk, "Adaptive precision floating-point arithmetic", 1997: the sum as non-overlapping doubles, then
/// rounded half to even. Needs intermediate sums that do not overflow.
double shewchuk_sum(const std::vector<double>& values) {
  std::vector<double> partials;
  for (double x : values) {
    size_t kept = 0;
    for (double y : partials) {
      if (std::abs(x) < std::abs(y)) std::swap(x, y);
      const double high = x + y, low = y - (high - x);
      if (low != 0) partials[kept++] = low;
      x = high;
    }
    partials.resize(kept);
    partials.push_back(x);
  }
  if (partials.empty()) return 0;
  size_t n = partials.size() - 1;
  double high = partials[n], low = 0;
  while (n > 0 && low == 0) {
    const double x = high, y = partials[--n];
    high = x + y;
    low = y - (high - x);
  }
  if (n > 0 && ((low < 0 && partials[n - 1] < 0) || (low > 0 && partials[n - 1] > 0))) {
    const double y = low * 2, x = high + y;
    if (y == x - high) high = x;
  }
  return high;
}

std::vector<double> random_values(std::mt19937_64& random, size_t count, int exponent_min, int exponent_max) {
  std::uniform_int_distribution<int> exponent(exponent_min, exponent_max);
  std::uniform_real_distribution<double> mantissa(-1, 1);
  std::vector<double> values(count);
  for (double& value : values) value = std::ldexp(mantissa(random), exponent(random));
  return values;
}

TEST(ExactSum, OfNothingIsZero) {
  EXPECT_EQ(ExactSum().value(), 0.0);
  EXPECT_FALSE(std::signbit(ExactSum().value()));
  EXPECT_FALSE(std::signbit(sum_of({-0.0}).value()));
}

TEST(ExactSum, OfOneValueIsTheValue) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (std::isfinite(value)) {
      ASSERT_EQ(sum_of({value}).value(), value);
    }
  }
  for (const double value :
       {smallest, -smallest, largest, -largest, 0x1p-1022, 0x1p-1022 - smallest, 1.0, 0x1p1023})
    EXPECT_EQ(sum_of({value}).value(), value);
}

TEST(ExactSum, KeepsWhatCancellationWouldLose) {
  EXPECT_EQ(sum_of({1e308, 1.0, -1e308}).value(), 1.0);
  EXPECT_EQ(sum_of({largest, largest, smallest, -largest, -largest}).value(), smallest);
  EXPECT_EQ(sum_of({1.0, 0x1p-1074, -1.0}).value(), smallest);
  EXPECT_EQ(sum_of({1e16, 1.0, 1.0, -1e16}).value(), 2.0);
  EXPECT_EQ(sum_of({-smallest, -smallest, -smallest}).value(), -3 * smallest);
}

TEST(ExactSum, RoundsTiesToEven) {
  EXPECT_EQ(sum_of({1.0, 0x1p-53}).value(), 1.0);
  EXPECT_EQ(sum_of({1.0, 0x1p-53, smallest}).value(), 1.0 + 0x1p-52);
  EXPECT_EQ(sum_of({1.0, 0x1p-53, -smallest}).value(), 1.0);
  EXPECT_EQ(sum_of({1.0 + 0x1p-52, 0x1p-53}).value(), 1.0 + 0x1p-51);
  EXPECT_EQ(sum_of({-1.0, -0x1p-53, -smallest}).value(), -1.0 - 0x1p-52);
  EXPECT_EQ(sum_of({2.0 - 0x1p-52, 0x1p-53}).value(), 2.0);  // carries into the next binade
}

TEST(ExactSum, OverflowsOnlyInTheResult) {
  EXPECT_EQ(sum_of({largest, largest}).value(), HUGE_VAL);
  EXPECT_EQ(sum_of({-largest, -largest}).value(), -HUGE_VAL);
  EXPECT_EQ(sum_of({largest, 0x1p969}).value(), largest);
  EXPECT_EQ(sum_of({largest, 0x1p970}).value(), HUGE_VAL);  // a tie, to even
  ExactSum sum;
  for (int i = 0; i < 100000; ++i) sum.add(largest);
  EXPECT_EQ(sum.value(), HUGE_VAL);
  for (int i = 0; i < 99999; ++i) sum.add(-largest);
  EXPECT_EQ(sum.value(), largest);
}

TEST(ExactSum, IsPoisonedByInfinityAndNan) {
  for (const double bad : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    ExactSum sum = sum_of({1.0, bad, 2.0});
    EXPECT_TRUE(sum.poisoned());
    EXPECT_TRUE(std::isnan(sum.value()));
    ExactSum other;
    other.merge(sum);
    EXPECT_TRUE(other.poisoned());
    ExactSum product;
    product.add_product(0.0, bad);
    EXPECT_TRUE(product.poisoned());
  }
}

TEST(ExactSum, AgreesWithIntegers) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 2000; ++round) {
    int128 reference = 0;
    ExactSum sum;
    for (int i = 0; i < 100; ++i) {
      const int64_t integer = static_cast<int64_t>(random()) >> (11 + random() % 40);
      const int shift = static_cast<int>(random() % 40);
      reference += static_cast<int128>(integer) << shift;
      sum.add(std::ldexp(static_cast<double>(integer), shift - 60));
    }
    // int128 -> double is correctly rounded (round to nearest), and the power of two is exact.
    ASSERT_EQ(sum.value(), std::ldexp(static_cast<double>(reference), -60));
  }
}

TEST(ExactSum, AgreesWithShewchuk) {
  std::mt19937_64 random(3);
  const int ranges[][2] = {{-5, 5}, {-60, 60}, {-300, 300}, {-1074, -1000}, {-1074, 900}, {900, 1010}};
  for (const auto& range : ranges)
    for (int round = 0; round < 1000; ++round) {
      std::vector<double> values = random_values(random, 1 + random() % 200, range[0], range[1]);
      if (round % 2 == 1)  // cancel nearly everything
        for (size_t i = 0, n = values.size(); i < n; ++i)
          values.push_back(-values[i] * (i % 7 ? 1 : 1 + 0x1p-50));
      std::shuffle(values.begin(), values.end(), random);
      ASSERT_EQ(sum_of(values).value(), shewchuk_sum(values)) << range[0] << " round " << round;
    }
}

TEST(ExactSum, DoesNotDependOnOrderOrPartitionIn1e5Tries) {
  std::mt19937_64 random(4);
  std::vector<double> values = random_values(random, 40, -200, 200);
  for (const double value : {smallest, -largest, largest, 1e-310, -3.0}) values.push_back(value);
  ExactSum reference = sum_of(values);
  reference.normalise();
  for (int round = 0; round < 100000; ++round) {
    std::shuffle(values.begin(), values.end(), random);
    std::vector<ExactSum> parts(1 + random() % 7);
    for (const double value : values) parts[random() % parts.size()].add(value);
    ExactSum limbwise;  // as an integer reduction over ranks does
    for (ExactSum& part : parts) {
      part.normalise();
      for (size_t i = 0; i < ExactSum::limb_count; ++i) limbwise.limbs()[i] += part.limbs()[i];
    }
    ExactSum merged;
    for (const ExactSum& part : parts) merged.merge(part);
    limbwise.normalise();
    merged.normalise();
    ASSERT_TRUE(std::ranges::equal(limbwise.limbs(), reference.limbs()));
    ASSERT_TRUE(std::ranges::equal(merged.limbs(), reference.limbs()));
    ASSERT_EQ(merged.value(), reference.value());
  }
}

TEST(ExactSum, EqualityIsOfSumsNotOfRepresentations) {
  EXPECT_EQ(sum_of({0x1p32, -1.0, -0x1p32}), sum_of({-1.0}));
  EXPECT_FALSE(sum_of({1.0}) == sum_of({1.0, smallest}));
}

TEST(ExactSum, CarriesBeforeALimbOverflows) {
  ExactSum sum;
  sum.limbs()[33] = (int64_t{1} << 62) - 1;  // 2^30 additions later, without making them
  const double unit = std::ldexp(1.0, 32 * 33 - 1074);
  const ExactSum before = sum;
  for (int i = 0; i < 1000; ++i) sum.add(unit * 0xFFFFFFFF);
  EXPECT_LT(sum.limbs()[33], int64_t{1} << 43);
  for (int i = 0; i < 1000; ++i) sum.add_product(-unit, 0xFFFFFFFF);
  EXPECT_EQ(sum, before);
  ExactSum doubled = before;
  for (int i = 0; i < 100; ++i) doubled.merge(before);
  EXPECT_EQ(doubled.value(), 101 * 0x1p62 * unit);
}

TEST(ExactSum, ProductsAreExact) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 20000; ++round) {
    const std::vector<double> f = random_values(random, 2, -400, 400);
    ExactSum sum;
    sum.add_product(f[0], f[1]);
    const double high = f[0] * f[1];
    ASSERT_EQ(sum.value(), high);  // correctly rounded, as hardware
    sum.add(-high);
    ASSERT_EQ(sum.value(), std::fma(f[0], f[1], -high));  // and nothing was lost
  }
}

TEST(ExactSum, ProductsAtTheEdgesOfTheRange) {
  ExactSum sum;
  sum.add_product(0x1p-1000, 0x1p-74);
  EXPECT_EQ(sum.value(), smallest);
  sum.add_product(0x1p-1000, -0x1p-75);  // half a unit: to even, zero
  EXPECT_EQ(sum.value(), smallest);
  sum.add_product(0x1.8p-1000, 0x1p-74);  // one and a half: to even, two
  EXPECT_EQ(sum.value(), 3 * smallest);
  sum.add_product(smallest, smallest);
  EXPECT_EQ(sum.value(), 3 * smallest);
  sum.add_product(largest, 1.0);
  sum.add_product(-largest, 1.0);
  EXPECT_EQ(sum.value(), 3 * smallest);
  sum.add_product(0x1p512, 0x1p512);
  EXPECT_TRUE(sum.poisoned());
}

}  // namespace
}  // namespace lepton
