// SPDX-License-Identifier: Apache-2.0
// The pace of waits and the text of a deadline.
#include "base/waiting.h"

#include <gtest/gtest.h>

#include "base/clock.h"

namespace lepton {
namespace {

TEST(Pace, SpinsThenYieldsThenSleepsShortly) {
  Pace pace;
  for (int i = 0; i < Pace::spins; ++i) pace.step();
  EXPECT_EQ(pace.waited_s(), 0);
  while (!pace.patient()) pace.step();
  for (int i = 0; i < 10; ++i) pace.step();
  const double begin = now_s();
  pace.step();
  EXPECT_GT(now_s() - begin, 90e-6);
  pace.restart();
  EXPECT_EQ(pace.waited_s(), 0);
  EXPECT_FALSE(pace.patient());
}

TEST(DeadlineError, SaysWhatAndWhom) {
  const DeadlineError error("barrier", 2.5, "rank 3 did not come");
  EXPECT_EQ(error.code(), Exit::again);
  EXPECT_EQ(error.where(), "barrier");
  EXPECT_EQ(error.problem(), "waited longer than 2.5 s; rank 3 did not come");
}

}  // namespace
}  // namespace lepton
