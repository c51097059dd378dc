// SPDX-License-Identifier: Apache-2.0
// How long a round may take: by kind, from measurements, within run.deadline, as the deck says.
#include "train/round_limits.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lepton::train {
namespace {

using exact::RoundKind;

TEST(RoundLimits, FollowTheLongestRoundOfTheKind) {
  RoundLimits limits{RunSpec{}};
  EXPECT_EQ(limits.silence_s(RoundKind::train), 600) << "the first is not measured";
  EXPECT_EQ(limits.wait_s(RoundKind::train), 600);
  limits.note(RoundKind::train, 0.01);
  EXPECT_EQ(limits.silence_s(RoundKind::train), 60);
  EXPECT_EQ(limits.wait_s(RoundKind::train), 91);
  EXPECT_EQ(limits.silence_s(RoundKind::test), 600);
  limits.note(RoundKind::train, 5);
  limits.note(RoundKind::train, 1);
  EXPECT_EQ(limits.silence_s(RoundKind::train), 100);
  limits.note(RoundKind::train, 50);
  EXPECT_EQ(limits.silence_s(RoundKind::train), 600) << "run.deadline bounds it";
}

TEST(RoundLimits, AsTheDeckSays) {
  RunSpec run;
  run.watchdog_s = 2;
  RoundLimits fixed(run);
  EXPECT_EQ(fixed.silence_s(RoundKind::train), 600);
  fixed.note(RoundKind::train, 50);
  EXPECT_EQ(fixed.silence_s(RoundKind::train), 2);
  EXPECT_EQ(fixed.wait_s(RoundKind::train), 4);
  run.watched = false;
  RoundLimits off(run);
  off.note(RoundKind::train, 0.01);
  EXPECT_TRUE(std::isinf(off.silence_s(RoundKind::train)));
  EXPECT_EQ(off.wait_s(RoundKind::train), 600);
}

}  // namespace
}  // namespace lepton::train
