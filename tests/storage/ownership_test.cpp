// SPDX-License-Identifier: Apache-2.0
// Who owns a run directory: by lock, by record where there are no locks, and what a job finds that was
// replaced while it was stopped.
#include "storage/ownership.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

#include "base/failpoint.h"
#include "storage/scratch.h"

namespace lepton::storage {
namespace {

using testing::expect_error;
using testing::Scratch;

constexpr OwnershipTimes quick{0.05, 0.5, 0.15};

/// As on a file system without locks, while it lives.
class WithoutLocks {
 public:
  WithoutLocks() {
    std::string text;
    for (int pass = 1; pass < 10; ++pass)
      text += "point=owner.lock,action=error,count=" + std::to_string(pass) + ";";
    arm_failpoints(text);
  }
  ~WithoutLocks() { arm_failpoints(""); }
};

std::vector<std::string> records(const Scratch& scratch) {
  std::vector<std::string> found;
  for (const std::string& name : list_directory(scratch.path()))
    if (is_ownership_file(name) && name != ".lock") found.push_back(name);
  return found;
}

TEST(Ownership, GenerationsGrowAndLeaveOneRecord) {
  const Scratch scratch;
  for (int64_t start = 1; start <= 3; ++start) {
    const Ownership owner(scratch.path(), "job", quick);
    EXPECT_EQ(owner.generation(), start);
    EXPECT_FALSE(owner.took_over()) << "the one before gave it back";
    EXPECT_EQ(records(scratch), std::vector<std::string>{".owner-" + std::to_string(start)});
    owner.require_mine();
    owner.require_mine_now();
  }
}

TEST(Ownership, ASecondJobIsRefusedByTheLock) {
  const Scratch scratch;
  const Ownership first(scratch.path(), "job 17 on n3", quick);
  expect_error(Exit::run_directory, "in use by job 17 on n3", [&] { Ownership(scratch.path(), "b", quick); });
  first.require_mine_now();
}

TEST(Ownership, ASecondJobIsRefusedByBeatsWhereThereAreNoLocks) {
  const Scratch scratch;
  const WithoutLocks none;
  const Ownership first(scratch.path(), "job 17 on n3", quick);
  expect_error(Exit::run_directory, "in use by job 17 on n3", [&] { Ownership(scratch.path(), "b", quick); });
  first.require_mine_now();
}

/// A child that owns the directory until it is killed.
pid_t owning_child(const std::string& directory) {
  int ready[2];
  EXPECT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const Ownership held(directory, "the child", quick);
    if (write(ready[1], "x", 1) == 1)
      for (;;) pause();
  }
  char x = 0;
  EXPECT_EQ(read(ready[0], &x, 1), 1);
  close(ready[0]);
  close(ready[1]);
  return child;
}

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(Ownership, ADeadJobIsReplacedAtOnceWhereTheLockTells) {
  const Scratch scratch;
  const pid_t child = owning_child(scratch.path());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  std::optional<Ownership> next;
  EXPECT_LT(seconds_of([&] { next.emplace(scratch.path(), "next", quick); }), quick.watch_s);
  EXPECT_TRUE(next->took_over());
  EXPECT_EQ(next->generation(), 2);
}

TEST(Ownership, ADeadJobIsWatchedWhereNoLockTells) {
  const Scratch scratch;
  const WithoutLocks none;
  const pid_t child = owning_child(scratch.path());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  std::optional<Ownership> next;
  EXPECT_GE(seconds_of([&] { next.emplace(scratch.path(), "next", quick); }), quick.watch_s * 0.9);
  EXPECT_TRUE(next->took_over());
}

/// The record of a kernel that is not this one: its lock may not have reached us.
TEST(Ownership, AJobOfAnotherHostIsWatchedAlthoughTheLockIsFree) {
  const Scratch scratch;
  replace_file(scratch / ".owner-4", "beat=0000000000000007 released=0\nboot=another\nowner=host far\n");
  std::optional<Ownership> next;
  EXPECT_GE(seconds_of([&] { next.emplace(scratch.path(), "next", quick); }), quick.watch_s * 0.9);
  EXPECT_EQ(next->generation(), 5);
  next.reset();
  replace_file(scratch / ".owner-9", "beat=0000000000000007 released=1\nboot=another\nowner=host far\n");
  EXPECT_LT(seconds_of([&] { next.emplace(scratch.path(), "next", quick); }), quick.watch_s * 0.9);
  next.reset();
  replace_file(scratch / ".owner-20", "");  // killed between its claim and its first words
  next.emplace(scratch.path(), "next", quick);
  EXPECT_EQ(next->generation(), 21);
}

TEST(Ownership, WhoBeatsOnAnotherHostKeepsItsDirectory) {
  const Scratch scratch;
  replace_file(scratch / ".owner-4", "beat=0000000000000007 released=0\nboot=another\nowner=host far\n");
  std::thread far([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    replace_file(scratch / ".owner-4", "beat=0000000000000008 released=0\nboot=another\nowner=host far\n");
  });
  expect_error(Exit::run_directory, "in use by host far", [&] { Ownership(scratch.path(), "b", quick); });
  far.join();
}

TEST(Ownership, AStoppedJobThatWakesFindsThatItWasReplaced) {
  const Scratch scratch;
  const WithoutLocks none;
  int asked[2], told[2];
  ASSERT_EQ(pipe(asked), 0);
  ASSERT_EQ(pipe(told), 0);
  const pid_t child = fork();
  if (child == 0) {
    const Ownership held(scratch.path(), "the child", quick);
    char x = 'b';
    if (write(told[1], &x, 1) != 1 || read(asked[0], &x, 1) != 1) _exit(1);
    try {
      held.require_mine();
      x = 'm';
    } catch (const Error& error) {
      x = error.code() == Exit::run_directory ? 'r' : 'e';
    }
    _exit(write(told[1], &x, 1) == 1 ? 0 : 1);
  }
  char x = 0;
  ASSERT_EQ(read(told[0], &x, 1), 1);
  kill(child, SIGSTOP);
  const Ownership next(scratch.path(), "the next", quick);
  kill(child, SIGCONT);
  ASSERT_EQ(write(asked[1], "?", 1), 1);
  ASSERT_EQ(read(told[0], &x, 1), 1);
  EXPECT_EQ(x, 'r');
  waitpid(child, nullptr, 0);
  next.require_mine_now();
}

TEST(Ownership, WhatAFormerOwnerHasOpenGoesNowhere) {
  const Scratch scratch;
  LineFile old(scratch / "ledger.txt");
  old.append("one");
  take_from_former_owner(scratch / "ledger.txt");
  old.append("late");
  EXPECT_EQ(read_file(scratch / "ledger.txt"), "one\n");
  take_from_former_owner(scratch / "missing");
  EXPECT_FALSE(read_file_if_exists(scratch / "missing"));
}

TEST(Ownership, ADirectoryThatCannotBeWrittenIsRefused) {
  const Scratch scratch;
  expect_error(Exit::run_directory, "missing", [&] { Ownership(scratch / "missing", "x", quick); });
}

}  // namespace
}  // namespace lepton::storage
