// SPDX-License-Identifier: Apache-2.0
// A held lock is seen with its owner, a free or missing one is not, and asking takes nothing.
#include "storage/lock_state.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "storage/file.h"

namespace lepton::storage {
namespace {

TEST(LockState, TellsTheOwnerWhileTheLockIsHeld) {
  const std::string directory = testing::TempDir() + "/lepton_lock_state_" + std::to_string(getpid());
  std::filesystem::remove_all(directory);
  EXPECT_FALSE(directory_lock_owner(directory).has_value());
  std::filesystem::create_directories(directory);
  EXPECT_FALSE(directory_lock_owner(directory).has_value());
  {
    const DirectoryLock lock(directory, "host n1, pid 7");
    EXPECT_EQ(directory_lock_owner(directory), "host n1, pid 7");
  }
  EXPECT_FALSE(directory_lock_owner(directory).has_value());
  const DirectoryLock again(directory, "host n2");  // asking has left nothing behind
  EXPECT_EQ(directory_lock_owner(directory), "host n2");
}

}  // namespace
}  // namespace lepton::storage
