// SPDX-License-Identifier: Apache-2.0
// Shares of classes: every unit in one class, in proportion over any run of rounds, evenly mixed, and a pure
// function of the round's number.
#include "balance/class_shares.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"

namespace lepton::balance {
namespace {

using Counts = std::vector<int64_t>;

Counts units_of(const ClassShares& shares, int64_t number, int64_t units) {
  Counts begins(7, -3), counts;
  shares.cut(number, units, begins);
  EXPECT_EQ(begins.front(), 0);
  EXPECT_EQ(begins.back(), units);
  for (size_t c = 0; c + 1 < begins.size(); ++c) counts.push_back(begins[c + 1] - begins[c]);
  return counts;
}

TEST(ClassShares, OneClassComputesAll) {
  const ClassShares all(Counts{5});
  for (const int64_t number : {0, 1, 77}) EXPECT_EQ(units_of(all, number, 13), Counts{13});
}

TEST(ClassShares, WhatOneRoundCannotGiveTheNextOnesDo) {
  const ClassShares shares(Counts{8, 1});
  int64_t small = 0;
  for (int64_t number = 0; number < 9; ++number) {
    const Counts counts = units_of(shares, number, 4);  // 4 of 9 do not divide
    small += counts[1];
    EXPECT_LE(counts[1], 1);
  }
  EXPECT_EQ(small, 4);
}

TEST(ClassShares, AreKeptOverAnyRunOfRounds) {
  uint64_t random = 7;
  for (int trial = 0; trial < 300; ++trial) {
    Counts weights(1 + (random = mix64(random)) % 4);
    for (int64_t& weight : weights) weight = static_cast<int64_t>(1 + (random = mix64(random)) % 40);
    const auto units = static_cast<int64_t>((random = mix64(random)) % 50);
    const auto first = static_cast<int64_t>((random = mix64(random)) % 1'000'000);
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    const ClassShares shares(weights);
    Counts sums(weights.size(), 0);
    for (int64_t round = 0; round < 40; ++round) {
      const Counts counts = units_of(shares, first + round, units);
      for (size_t c = 0; c < sums.size(); ++c) {
        ASSERT_GE(counts[c], 0);
        sums[c] += counts[c];
        const double fair = static_cast<double>((round + 1) * units * weights[c]) / total;
        ASSERT_LE(std::abs(static_cast<double>(sums[c]) - fair), static_cast<double>(weights.size()));
      }
    }
  }
}

TEST(ClassShares, ArePureFunctions) {
  const ClassShares one(Counts{3, 5, 2}), other(Counts{3, 5, 2});
  units_of(one, 5, 11);
  for (const int64_t number : std::vector<int64_t>{4, 0, 4000000000})
    EXPECT_EQ(units_of(one, number, 7), units_of(other, number, 7));
}

TEST(ClassShares, WithoutAShareAreABug) {
  EXPECT_THROW(ClassShares(Counts{}), Error);
  EXPECT_THROW(ClassShares(Counts{1, 0}), Error);
}

}  // namespace
}  // namespace lepton::balance
