// SPDX-License-Identifier: Apache-2.0
// Deadlines of collectives: the error names those who did not come, and only those.
#include "comm/group.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "comm/waits.h"

namespace lepton::comm {
namespace {

TEST(Group, ADeadlineNamesTheMissingRank) {
  World world(1.0, 1000);
  const World patient(60, 1000);
  if (world.size() == 1) GTEST_SKIP() << "nobody can be missing";
  const int missing = world.size() - 1;
  const std::string expected = std::string("; rank ").append(std::to_string(missing)).append(" did not come");
  if (world.rank() == missing) {
    sleep_s(2.5);
  } else {
    sleep_s(0.03 * world.rank());  // not all at once
    const double begin = now_s();
    try {
      world.barrier();
      ADD_FAILURE() << "the barrier opened without rank " << missing;
    } catch (const DeadlineError& error) {
      EXPECT_EQ(error.code(), Exit::again);
      EXPECT_NE(error.problem().find(expected), std::string::npos) << error.problem();
      EXPECT_EQ(error.where(), "barrier of all ranks");
    }
    EXPECT_GT(now_s() - begin, 0.9);
  }
  patient.barrier();
  if (world.rank() == missing) world.barrier();  // the collective that the others began, so that MPI can end
  patient.barrier();
}

TEST(Group, AgreementPassesADeadlineThrough) {
  const World world;
  try {
    agree(world, [] { throw DeadlineError("somewhere", 1, "nobody came"); });
    ADD_FAILURE() << "nothing thrown";
  } catch (const DeadlineError& error) {
    EXPECT_FALSE(error.agreed());
  }
}

TEST(Group, PollsWhileItWaits) {
  World world;
  Group& all = world.handles().all;
  int polls = 0;
  const std::function<void()> poll = [&] { ++polls; };
  if (world.rank() == 0) sleep_s(0.05);
  MPI_Request request;
  all.begin();
  check_mpi(MPI_Ibarrier(all.comm, &request), "MPI_Ibarrier");
  all.wait(request, "test", &poll);
  if (world.rank() != 0) {
    EXPECT_GT(polls, 0);
  }
}

TEST(Group, MpiErrorsBecomeErrors) {
  const World world;
  try {
    check_mpi(MPI_Comm_rank(world.handles().all.comm, nullptr), "MPI_Comm_rank");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_EQ(error.where(), "MPI_Comm_rank");
  }
}

}  // namespace
}  // namespace lepton::comm
