// SPDX-License-Identifier: Apache-2.0
// The lock of a directory names its owner, dies with it, and asking for it takes nothing.
#include "storage/directory_lock.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "storage/scratch.h"

namespace lepton::storage {
namespace {

using testing::expect_error;
using testing::Scratch;

TEST(DirectoryLock, TellsTheOwnerWhileTheLockIsHeld) {
  const std::string directory = ::testing::TempDir() + "/lepton_lock_state_" + std::to_string(getpid());
  std::filesystem::remove_all(directory);
  EXPECT_FALSE(directory_lock_owner(directory).has_value());
  std::filesystem::create_directories(directory);
  EXPECT_FALSE(directory_lock_owner(directory).has_value());
  {
    const auto lock = DirectoryLock::try_take(directory, "host n1, pid 7");
    EXPECT_EQ(directory_lock_owner(directory), "host n1, pid 7");
  }
  EXPECT_FALSE(directory_lock_owner(directory).has_value());
  const auto again = DirectoryLock::try_take(directory, "host n2");  // asking has left nothing behind
  EXPECT_EQ(directory_lock_owner(directory), "host n2");
}

TEST(DirectoryLock, NamesItsOwnerAndDiesWithIt) {
  const Scratch scratch;
  std::optional<DirectoryLock> lock = DirectoryLock::try_take(scratch.path(), "job 17 on n3, pid 4711");
  expect_error(Exit::run_directory, "in use by job 17 on n3, pid 4711",
               [&] { DirectoryLock::try_take(scratch.path(), "another"); });
  lock.reset();
  DirectoryLock::try_take(scratch.path(), "short");
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto held = DirectoryLock::try_take(scratch.path(), "the child");
    if (write(ready[1], "x", 1) == 1) pause();
    _exit(0);
  }
  char x = 0;
  ASSERT_EQ(read(ready[0], &x, 1), 1);
  expect_error(Exit::run_directory, "in use by the child",
               [&] { DirectoryLock::try_take(scratch.path(), "parent"); });
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  const auto again = DirectoryLock::try_take(scratch.path(), "parent");
  EXPECT_TRUE(again);
  close(ready[0]);
  close(ready[1]);
  expect_error(Exit::run_directory, "missing", [&] { DirectoryLock::try_take(scratch / "missing", "x"); });
}

}  // namespace
}  // namespace lepton::storage
