// SPDX-License-Identifier: Apache-2.0
// Which token follows: the likeliest at temperature 0, shares as softmax gives them, limits, keys.
#include "train/token_choice.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

namespace lepton::train {
namespace {

const std::vector<float> scores = {0.0f, 2.0f, 1.0f, 2.0f};

std::array<int, 4> choices_of(const TokenChoice& choice, int draws) {
  std::array<int, 4> counts{};
  for (int i = 0; i < draws; ++i)
    ++counts[static_cast<size_t>(choice.choose(scores, static_cast<uint64_t>(i)))];
  return counts;
}

TEST(TokenChoice, TheFirstOfTheLargestAtTemperature0) {
  EXPECT_EQ(choices_of({.temperature = 0}, 50), (std::array<int, 4>{0, 50, 0, 0}));
}

TEST(TokenChoice, SharesAreThoseOfSoftmax) {
  constexpr int draws = 20000;
  for (const double temperature : {0.5, 1.0, 3.0}) {
    const std::array<int, 4> counts = choices_of({.temperature = temperature}, draws);
    double total = 0;
    for (const float score : scores) total += std::exp(static_cast<double>(score) / temperature);
    for (size_t i = 0; i < 4; ++i) {
      const double share = std::exp(static_cast<double>(scores[i]) / temperature) / total;
      EXPECT_NEAR(counts[i], share * draws, 4 * std::sqrt(share * draws)) << temperature << " token " << i;
    }
  }
}

TEST(TokenChoice, TopK) {
  const std::array<int, 4> two = choices_of({.top_k = 2}, 500);
  EXPECT_EQ(two[0] + two[2], 0);
  EXPECT_GT(std::min(two[1], two[3]), 100);
  EXPECT_EQ(choices_of({.top_k = 1}, 50)[1], 50);
  EXPECT_EQ(choices_of({.top_k = 9}, 50), choices_of({}, 50));
}

TEST(TokenChoice, IsKeyedBySeed) {
  EXPECT_EQ(choices_of({.seed = 4}, 500), choices_of({.seed = 4}, 500));
  EXPECT_NE(choices_of({.seed = 4}, 500), choices_of({.seed = 5}, 500));
}

}  // namespace
}  // namespace lepton::train
