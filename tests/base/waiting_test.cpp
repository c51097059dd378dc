// SPDX-License-Identifier: Apache-2.0
// The pace of waits and the text of a deadline.
#include "base/waiting.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

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

TEST(OwnTime, DoesNotCountWhatTheProcessDidNotLive) {
  OwnTime time;
  const double first = time.count();
  EXPECT_GE(first, 0);
  EXPECT_EQ(time.counted_s(), first);
  const pid_t child = fork();
  if (child == 0) {
    OwnTime own;
    raise(SIGSTOP);
    _exit(own.count() <= OwnTime::tick_max_s ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, WUNTRACED);
  usleep(1'500'000);
  kill(child, SIGCONT);
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  time.restart();
  EXPECT_EQ(time.counted_s(), 0);
}

TEST(Deadline, CanBeLiftedForAWhile) {
  Deadline deadline(3);
  {
    const Deadline::Lifted lifted(deadline);
    EXPECT_GT(deadline.seconds(), 1e30);
  }
  EXPECT_EQ(deadline.seconds(), 3);
}

TEST(DeadlineError, SaysWhatAndWhom) {
  const DeadlineError error("barrier", 2.5, "rank 3 did not come");
  EXPECT_EQ(error.code(), Exit::again);
  EXPECT_EQ(error.where(), "barrier");
  EXPECT_EQ(error.problem(), "waited longer than 2.5 s; rank 3 did not come");
}

}  // namespace
}  // namespace lepton
