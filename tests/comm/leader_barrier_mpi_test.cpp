// SPDX-License-Identifier: Apache-2.0
// The barrier of leaders: closed until the last has entered, however long that serves messages; round after
// round; whom a deadline names; and the misuses that it finds.
#include "comm/leader_barrier.h"

#include <gtest/gtest.h>
#include <mpi.h>

#include "base/clock.h"
#include "comm/group.h"
#include "comm/mailbox.h"
#include "comm/waits.h"
#include "comm/worlds.h"

// MPI's profiling interface: counts barriers.
namespace {
int64_t barriers = 0;
}  // namespace
extern "C" int MPI_Ibarrier(MPI_Comm comm, MPI_Request* request) {
  ++barriers;
  return PMPI_Ibarrier(comm, request);
}

namespace lepton::comm {
namespace {

/// The late leader enters only when every other has said its last word, before each of which the barrier is
/// closed. Nobody waits for a letter then, so none of the next round can be taken for it.
void round_with_late_leader(const World& world, LeaderBarrier& barrier, Mailbox& mailbox, int late) {
  constexpr int questions = 3;
  EXPECT_FALSE(barrier.entered());
  if (world.node() == late) {
    const bool before = barrier.complete();
    for (int others = world.nodes() - 1; others > 0;) {
      const Letter letter = next_letter(mailbox);
      if (letter.bytes == "last word")
        --others;
      else
        mailbox.send(letter.from, "answer");
    }
    EXPECT_EQ(barrier.complete(), before);
    barrier.enter();
  } else {
    barrier.enter();
    for (int question = 0; question <= questions; ++question) {
      for (int look = 0; look < 100; ++look)
        ASSERT_FALSE(barrier.complete()) << "leader " << late << " has not entered";
      mailbox.send(late, question < questions ? "question" : "last word");
      if (question < questions) {
        EXPECT_EQ(next_letter(mailbox).bytes, "answer");
      }
    }
  }
  EXPECT_TRUE(barrier.entered());
}

TEST(LeaderBarrier, IsClosedUntilAllHaveEnteredWhileMessagesFlow) {
  for_each_world([](const World& world) {
    if (!world.leads()) return;
    LeaderBarrier barrier(world);
    Mailbox mailbox(world);
    EXPECT_FALSE(barrier.complete());
    for (int round = 0; round < 30; ++round) {
      round_with_late_leader(world, barrier, mailbox, round % world.nodes());
      if (round % 2)
        barrier.wait("test");
      else
        for (Pace pace; !barrier.complete(); pace.step()) ASSERT_LT(pace.waited_s(), 60);
      EXPECT_FALSE(barrier.entered());
      EXPECT_TRUE(barrier.complete());
    }
    mailbox.drain();
  });
}

TEST(LeaderBarrier, OneNodeNeedsNoMpi) {
  const World world(60, 1000);
  if (!world.leads()) return;
  barriers = 0;
  LeaderBarrier barrier(world);
  for (int round = 0; round < 3; ++round) {
    barrier.enter();
    EXPECT_TRUE(barrier.entered());
    EXPECT_TRUE(barrier.complete());
    EXPECT_FALSE(barrier.entered());
  }
  EXPECT_EQ(barriers, 0);
}

TEST(LeaderBarrier, PollsWhileItWaits) {
  const World world(60, 1);
  LeaderBarrier barrier(world);
  if (world.rank() == 0) sleep_s(0.05);
  barrier.enter();
  int polls = 0;
  barrier.wait("test", [&] { ++polls; });
  if (world.rank() != 0) {
    EXPECT_GT(polls, 0);
  }
}

/// What a leader says after the deadline that waits for the barrier in wait(), or in a loop of its own.
std::string missing_at_deadline(const World& world, LeaderBarrier& barrier, bool own_loop) {
  if (own_loop) {
    for (Pace pace; pace.waited_s() <= world.deadline_s(); pace.step())
      if (barrier.complete()) return "nobody";
    return barrier.missing();
  }
  try {
    barrier.wait("end of units");
  } catch (const DeadlineError& error) {
    EXPECT_EQ(error.where(), "end of units");
    return error.problem().substr(error.problem().find("; ") + 2);
  }
  return "nobody";
}

TEST(LeaderBarrier, ADeadlineNamesWhoHasNotEntered) {
  const World world(1.0, 1), patient(60, 1);
  if (world.size() == 1) GTEST_SKIP() << "nobody can be missing";
  LeaderBarrier barrier(world);
  for (int round = 0; round < 2; ++round) {
    const int missing = (world.size() / 2 + round) % world.size();  // then one who came before
    if (world.rank() != missing) {
      sleep_s(0.03 * world.rank());  // not all at once
      barrier.enter();
      EXPECT_EQ(missing_at_deadline(world, barrier, (world.rank() + round) % 2 == 0),
                "rank " + std::to_string(missing) + " did not come");
    }
    patient.barrier();
    if (world.rank() == missing) barrier.enter();
    for (Pace pace; !barrier.complete(); pace.step()) ASSERT_LT(pace.waited_s(), 60);
    patient.barrier();
  }
}

TEST(LeaderBarrier, MisuseIsFound) {
  const World world(60, 1);
  LeaderBarrier barrier(world);
  EXPECT_THROW(barrier.wait("test"), Error);
  EXPECT_THROW(barrier.missing(), Error);
  barrier.enter();
  EXPECT_THROW(barrier.enter(), Error);
  if (world.size() > 1) {
    Group& leaders = world.handles().leaders;
    leaders.begin();
    EXPECT_THROW(barrier.complete(), Error);
    EXPECT_THROW(barrier.wait("test"), Error);
    --leaders.calls;
  }
  barrier.wait("test");
  barrier.wait("test");  // complete for ever
}

TEST(LeaderBarrier, OpenItGoesOnlyWithAnException) {
  const World world(60, 1);
  if (world.size() == 1) GTEST_SKIP() << "never open";
  auto bug = std::make_unique<LeaderBarrier>(world);
  bug->enter();
  if (world.rank() == 0) {
    EXPECT_DEATH(bug.reset(), "a barrier is open");
  }
  bug->wait("test");
  if (world.rank() == 0) {
    EXPECT_THROW(
        {
          LeaderBarrier barrier(world);
          barrier.enter();
          fail(Exit::io, "x", "y", "");
        },
        Error);
  } else {
    LeaderBarrier barrier(world);
    barrier.enter();
    barrier.wait("test");  // rank 0 has entered, whatever became of it
  }
  world.barrier();
}

}  // namespace
}  // namespace lepton::comm
