// SPDX-License-Identifier: Apache-2.0
// Random arrays: element i from counter i / 4, moments, bounds, pinned values.
#include "ops/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/philox.h"

namespace lepton::ops {
namespace {

TEST(Random, UniformIsPhiloxByElement) {
  std::vector<float> values(103);
  fill_uniform(values, 17, 0.25f);
  for (uint32_t i = 0; i < 103; ++i)
    EXPECT_EQ(values[i], (2 * uniform01(philox4x32(17, {i / 4, 0, 0, 0})[i % 4]) - 1) * 0.25f);
}

TEST(Random, PrefixesAgree) {
  std::vector<float> many(103), few(50);
  fill_normal(many, 17, 0, 1);
  fill_normal(few, 17, 0, 1);
  many.resize(50);
  EXPECT_EQ(many, few);
  fill_normal(few, 18, 0, 1);
  EXPECT_NE(many, few);
}

TEST(Random, Moments) {
  std::vector<float> values(400000);
  const auto moment = [&](double centre, int power) {
    double sum = 0;
    for (const float value : values) sum += std::pow(static_cast<double>(value) - centre, power);
    return sum / static_cast<double>(values.size());
  };
  fill_normal(values, 5, 2, 3);
  EXPECT_NEAR(moment(0, 1), 2, 0.02);
  EXPECT_NEAR(moment(2, 2), 9, 0.1);
  EXPECT_NEAR(moment(2, 3), 0, 0.4);
  EXPECT_NEAR(moment(2, 4) / 81, 3, 0.08);
  fill_uniform(values, 5, 2);
  EXPECT_NEAR(moment(0, 1), 0, 0.01);
  EXPECT_NEAR(moment(0, 2), 4.0 / 3, 0.01);
  for (const float value : values) ASSERT_TRUE(value >= -2 && value < 2);
}

TEST(Random, EmptyIsAllowed) {
  fill_normal({}, 1, 0, 1);
}

}  // namespace
}  // namespace lepton::ops
