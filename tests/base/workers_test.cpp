// SPDX-License-Identifier: Apache-2.0
// The team runs every job on every thread exactly once, hands exceptions to its owner, and stays quick with
// more threads than cores; the background thread keeps order, drains at the end, and keeps the first failure.
#include "base/workers.h"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "base/clock.h"

namespace lepton {
namespace {

TEST(ThreadTeam, RunsEachJobOnEachThreadOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadTeam team(threads);
    EXPECT_EQ(team.size(), threads);
    std::vector<int> runs(static_cast<size_t>(threads), 0);
    const std::function<void(int)> job = [&runs](int thread) { ++runs[static_cast<size_t>(thread)]; };
    for (int i = 0; i < 2000; ++i) team.run(job);
    EXPECT_EQ(runs, std::vector<int>(static_cast<size_t>(threads), 2000));
  }
}

TEST(ThreadTeam, ThreadZeroIsTheCaller) {
  ThreadTeam team(3);
  std::vector<std::thread::id> ids(3);
  team.run([&ids](int thread) { ids[static_cast<size_t>(thread)] = std::this_thread::get_id(); });
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_NE(ids[1], ids[0]);
  EXPECT_NE(ids[2], ids[1]);
}

TEST(ThreadTeam, StartsEachThreadButZeroWithOnStart) {
  std::vector<int> started(4, 0);
  ThreadTeam team(4, [&started](int thread) { ++started[static_cast<size_t>(thread)]; });
  team.run([](int) {});
  EXPECT_EQ(started, (std::vector<int>{0, 1, 1, 1}));
}

TEST(ThreadTeam, WakesFromALongSleep) {
  ThreadTeam team(3);
  std::atomic<int> runs{0};
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    team.run([&runs](int) { ++runs; });
  }
  EXPECT_EQ(runs, 9);
  team.run([&runs](int thread) {  // the caller sleeps for its threads
    if (thread == 1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ++runs;
  });
  EXPECT_EQ(runs, 12);
}

TEST(ThreadTeam, RethrowsTheFirstExceptionByThreadAndGoesOn) {
  ThreadTeam team(4);
  for (int round = 0; round < 50; ++round) {
    try {
      team.run([](int thread) {
        if (thread >= 2) throw std::runtime_error("thread " + std::to_string(thread));
      });
      FAIL() << "did not throw";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "thread 2");
    }
  }
  EXPECT_THROW(team.run([](int thread) {
    if (thread == 0) throw std::runtime_error("caller");
  }),
               std::runtime_error);
  EXPECT_NO_THROW(team.run([](int) {}));
}

TEST(ThreadTeam, AFailureInOnStartComesWithTheFirstRun) {
  ThreadTeam team(2, [](int) { throw std::runtime_error("start"); });
  EXPECT_THROW(team.run([](int) {}), std::runtime_error);
  EXPECT_NO_THROW(team.run([](int) {}));
}

TEST(ThreadTeam, ThreadsTakeOverTheRunContext) {
  ThreadTeam team(3);
  run_context() = {.rank = 5, .step = 77, .unit = -1, .restart = 2};
  std::vector<RunContext> seen(3);
  team.run([&seen](int thread) { seen[static_cast<size_t>(thread)] = run_context(); });
  run_context() = {};
  for (const RunContext& run : seen) {
    EXPECT_EQ(run.rank, 5);
    EXPECT_EQ(run.step, 77);
    EXPECT_EQ(run.restart, 2);
  }
}

TEST(ThreadTeam, StaysQuickWithManyMoreThreadsThanCores) {
  const double begin_s = now_s();
  std::atomic<int> runs{0};
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 7; ++rank)
    ranks.emplace_back([&runs] {
      ThreadTeam team(2);
      const std::function<void(int)> job = [&runs](int) { ++runs; };
      for (int i = 0; i < 1000; ++i) team.run(job);
    });
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(runs, 7 * 2 * 1000);
  const double job_us = (now_s() - begin_s) * 1e6 / 1000;
  RecordProperty("microseconds_per_job_of_7_teams", std::to_string(job_us));
  EXPECT_LT(job_us, 20000);  // two scheduler slices of 14 threads; a lost wake-up would hang instead
}

TEST(BackgroundThread, RunsTasksInOrder) {
  BackgroundThread background;
  std::vector<int> order;
  for (int i = 0; i < 1000; ++i) background.post([&order, i] { order.push_back(i); });
  background.wait_idle();
  EXPECT_TRUE(background.idle());
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(BackgroundThread, FinishesItsQueueAtTheEnd) {
  int done = 0;
  {
    BackgroundThread background;
    for (int i = 0; i < 20; ++i)
      background.post([&done] {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ++done;
      });
  }
  EXPECT_EQ(done, 20);
}

TEST(BackgroundThread, IsNotIdleWhileATaskRuns) {
  BackgroundThread background;
  std::atomic<bool> go{false};
  background.post([&go] { go.wait(false); });
  EXPECT_FALSE(background.idle());
  go = true;
  go.notify_all();
  background.wait_idle();
  EXPECT_TRUE(background.idle());
}

TEST(BackgroundThread, KeepsTheFirstFailureAndRethrowsItOnce) {
  BackgroundThread background;
  for (int i = 0; i < 3; ++i) background.post([i] { throw std::runtime_error(std::to_string(i)); });
  background.wait_idle();
  try {
    background.rethrow_failure();
    FAIL() << "did not throw";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "0");
  }
  EXPECT_NO_THROW(background.rethrow_failure());
}

TEST(BackgroundThread, ReleasesWhatATaskHoldsBeforeItIsIdle) {
  BackgroundThread background;
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> watcher = held;
  background.post([held = std::move(held)] { EXPECT_EQ(*held, 1); });
  background.wait_idle();
  EXPECT_TRUE(watcher.expired());
}

TEST(BackgroundThread, TasksRunInTheContextOfWhoPostedThem) {
  BackgroundThread background;
  run_context() = {.rank = 4, .step = 12, .unit = -1, .restart = 1};
  RunContext seen;
  background.post([&seen] { seen = run_context(); });
  run_context() = {};
  background.wait_idle();
  EXPECT_EQ(seen.rank, 4);
  EXPECT_EQ(seen.step, 12);
}

}  // namespace
}  // namespace lepton
