// SPDX-License-Identifier: Apache-2.0
// The node barrier under ranks x threads, more of them than cores: nobody passes early, serial sections are
// alone, failures and deadlines end all waits.
#include "comm/node_barrier.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "base/waiting.h"
#include "comm/shared_memory.h"
#include "comm/worlds.h"

namespace lepton::comm {
namespace {

struct Board {
  NodeBarrierState barrier;
  Attendant roster[65];
  std::atomic<int64_t> early;       // threads that passed before all had arrived
  int64_t serial_rounds;            // not atomic: the serial section is alone
  std::atomic<int64_t> rounds[64];  // by thread of the node
};

/// `rounds` rounds by every thread of the node, the main threads polling, a serial section every fourth
/// round.
void stress(const World& world, int threads, int64_t rounds) {
  const SharedMemory memory(world, "/dev/shm", "barrier", sizeof(Board));
  Board& board = *reinterpret_cast<Board*>(memory.data());
  const int participants = world.node_size() * threads;
  ASSERT_LE(participants, 64);
  NodeBarrier barrier(board.barrier, std::span(board.roster).first(static_cast<size_t>(participants)),
                      world.rank(), world.deadline());
  int64_t polls = 0;
  const auto run = [&](int thread) {
    const int me = world.node_rank() * threads + thread;
    for (int64_t round = 1; round <= rounds; ++round) {
      board.rounds[me].store(round, std::memory_order_relaxed);
      if (thread > 0)
        barrier.wait(me);
      else if (round % 4 == 0 && world.leads())
        barrier.wait_serial(
            me, [&] { ++polls; }, [&] { ++board.serial_rounds; });
      else
        barrier.wait(me, [&] { ++polls; });
      for (int other = 0; other < participants; ++other)
        if (board.rounds[other].load(std::memory_order_relaxed) < round) ++board.early;
      if (round % 4 == 0 && board.serial_rounds != round / 4) ++board.early;
      barrier.wait(me);
    }
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
  run(0);
  for (std::thread& other : others) other.join();
  EXPECT_EQ(board.early.load(), 0);
  EXPECT_EQ(board.serial_rounds, rounds / 4);
  world.node_barrier();
}

/// A barrier of the ranks of the node, one thread each, and `more` that never come.
struct OfRanks {
  OfRanks(const World& of_world, const char* purpose, size_t more = 0, double deadline_s = 60)
      : world(of_world),
        memory(world, "/dev/shm", purpose, sizeof(Board)),
        board(*reinterpret_cast<Board*>(memory.data())),
        deadline(deadline_s),
        barrier(board.barrier, std::span(board.roster).first(static_cast<size_t>(world.node_size()) + more),
                world.rank(), deadline) {}
  void wait() { barrier.wait(world.node_rank()); }
  void wait(const Poll& poll) { barrier.wait(world.node_rank(), poll); }
  void wait_serial(const std::function<void()>& serial) {
    barrier.wait_serial(world.node_rank(), {}, serial);
  }

  const World& world;
  SharedMemory memory;
  Board& board;
  Deadline deadline;
  NodeBarrier barrier;
};

TEST(NodeBarrier, NobodyPassesEarly) {
  const World one_node(120, 1000);
  stress(one_node, 1, one_node.size() <= 2 ? 50'000 : 10'000);  // two barriers a round
  stress(one_node, 2, one_node.size() <= 2 ? 20'000 : 4'000);
  const World small_nodes(120, 2);
  stress(small_nodes, 2, 4'000);
}

TEST(NodeBarrier, SleepersAreWoken) {
  const World world(60, 1000);
  OfRanks barrier(world, "sleepers");
  for (int round = 0; round < 20; ++round) {
    if (world.rank() == round % world.size()) usleep(3000);  // the others are in the futex by now
    barrier.wait();
  }
  world.node_barrier();
}

TEST(NodeBarrier, AFailureEndsAllWaits) {
  const World world(60, 1000);
  OfRanks barrier(world, "failure", 1, 60);
  if (world.leads()) {
    usleep(20'000);
    barrier.barrier.fail();
    EXPECT_THROW(barrier.wait_serial([] {}), NodeFailed);
  } else if (world.rank() % 2 == 1) {
    EXPECT_THROW(barrier.wait(), NodeFailed);
  } else {
    EXPECT_THROW(barrier.wait([] {}), NodeFailed);
  }
  EXPECT_THROW(barrier.wait(), NodeFailed);  // and stays failed
  world.node_barrier();
}

TEST(NodeBarrier, WhatTheSerialSectionThrowsFailsTheOthers) {
  const World world(60, 1000);
  OfRanks barrier(world, "serial");
  if (world.leads())
    EXPECT_THROW(barrier.wait_serial([] { fail(Exit::io, "x", "y", ""); }), Error);
  else
    EXPECT_THROW(barrier.wait(), NodeFailed);
  world.node_barrier();
}

/// Rank 0 stays away, or a thread that was never seen.
TEST(NodeBarrier, ADeadlineSaysWhoIsMissing) {
  const World world(60, 1000);
  for (const bool seen : {true, false}) {
    if (seen && world.size() == 1) continue;
    OfRanks barrier(world, "deadline", seen ? 0 : 1, 1.0);
    if (seen) barrier.wait();
    world.barrier();
    int64_t deadlines = 0;
    if (!seen || world.rank() > 0) try {
        world.rank() % 2 ? barrier.wait() : barrier.wait([] {});
        ADD_FAILURE() << "passed";
      } catch (const DeadlineError& error) {
        ++deadlines;
        const std::string whom = seen ? "rank 0 did not come (process " : "a thread did not come";
        EXPECT_NE(error.problem().find(whom), std::string::npos) << error.what();
      } catch (const NodeFailed&) {  // another thread's deadline came first
      }
    world.all_sum({&deadlines, 1});
    EXPECT_GE(deadlines, 1);
    world.node_barrier();
  }
}

TEST(NodeBarrier, WhileTheLeaderWaitsForADiskNoDeadlineCounts) {
  const World world(60, 1000);
  OfRanks barrier(world, "patient", 0, 0.1);
  if (world.leads()) {
    barrier.board.barrier.patient = 1;
    world.node_barrier();
    usleep(400'000);
    barrier.wait_serial([&] { barrier.board.barrier.patient = 0; });
  } else {
    world.node_barrier();
    barrier.wait();
  }
  world.node_barrier();
}

}  // namespace
}  // namespace lepton::comm
