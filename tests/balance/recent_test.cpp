// SPDX-License-Identifier: Apache-2.0
// The estimate of what mostly stays (recent.h): noise, outliers, changes.
#include "balance/recent.h"

#include <gtest/gtest.h>

#include <vector>

namespace lepton::balance {
namespace {

/// The estimate after these measurements, each believed in turn.
double estimate(const std::vector<double>& values) {
  Recent recent;
  double believed = values.front();
  for (const double value : values) {
    recent.take(value, believed);
    believed = recent.middle();
  }
  return believed;
}

TEST(Recent, UpToSixItIsTheMedian) {
  EXPECT_TRUE(Recent().empty());
  EXPECT_EQ(estimate({2}), 2);
  EXPECT_EQ(estimate({2, 2.2}), 2.1);
  EXPECT_EQ(estimate({2, 2.2, 2.3}), 2.2);
  EXPECT_EQ(estimate({2, 2.2, 2.3, 1.9, 2.1}), 2.1);
  EXPECT_DOUBLE_EQ(estimate({2, 2.2, 2.3, 1.9, 2.1, 2.16}), 2.13);
}

TEST(Recent, OutliersApartChangeNothing) {
  EXPECT_EQ(estimate({1, 1, 1, 50, 1}), 1);
  EXPECT_EQ(estimate({1, 1, 1, 50, 1, 50, 1, 1, 1}), 1);
  EXPECT_EQ(estimate({1, 1, 1, 50, 0.02, 1}), 1);  // on both sides
}

TEST(Recent, TwoOnOneSideAreAChange) {
  EXPECT_EQ(estimate({1, 1, 1, 3, 5}), 4);
  EXPECT_EQ(estimate({1, 1, 1, 0.5, 0.5}), 0.5);
  EXPECT_EQ(estimate({1, 1, 1, 1.15, 1.15}), 1);  // no more than a fifth
  Recent recent;
  for (int i = 0; i < 9; ++i) EXPECT_FALSE(recent.take(1, 1));
  EXPECT_FALSE(recent.take(2, 1));
  EXPECT_TRUE(recent.take(2, 1));
  EXPECT_FALSE(recent.take(2, 2));
  EXPECT_EQ(recent.middle(), 2);
}

TEST(Recent, NineCount) {
  std::vector<double> values(9, 1);
  for (int i = 0; i < 9; ++i) values.push_back(1.1);
  EXPECT_DOUBLE_EQ(estimate(values), 1.1);
}

}  // namespace
}  // namespace lepton::balance
