// SPDX-License-Identifier: Apache-2.0
// Memory limits from made-up /proc and /sys trees of both control group versions.
#include "comm/memory_limits.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>

namespace lepton::comm {
namespace {

class FakeRoot : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "lepton-limits-" + std::to_string(getpid());
    put("/proc/meminfo", "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable:    500 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  std::string root_;
};

TEST_F(FakeRoot, WithoutGroupsRamCounts) {
  const MemoryLimits limits = memory_limits("", root_);
  EXPECT_EQ(limits.ram_bytes, 500u * 1024);
  EXPECT_EQ(limits.cgroup_bytes, SIZE_MAX);
  EXPECT_EQ(limits.available_bytes(), 500u * 1024);
}

TEST_F(FakeRoot, Version2TakesTheTightestParentAndCountsCacheAsFree) {
  put("/proc/self/cgroup", "0::/job/step\n");
  put("/sys/fs/cgroup/job/step/memory.max", "max\n");
  put("/sys/fs/cgroup/job/step/memory.current", "1000\n");
  put("/sys/fs/cgroup/job/memory.max", "200000\n");
  put("/sys/fs/cgroup/job/memory.current", "120000\n");
  put("/sys/fs/cgroup/job/memory.stat", "anon 100000\ninactive_file 20000\n");
  EXPECT_EQ(memory_limits("", root_).available_bytes(), 100000u);
}

TEST_F(FakeRoot, Version1) {
  put("/proc/self/cgroup", "4:cpu:/x\n3:memory,hugetlb:/job\n0::/\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n");
  put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "3000\n");
  put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "4000\n");
  EXPECT_EQ(memory_limits("", root_).available_bytes(), 0u);
  put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1000\n");
  EXPECT_EQ(memory_limits("", root_).available_bytes(), 2000u);
}

TEST_F(FakeRoot, AGroupThatCannotBeSeenDoesNotLimit) {
  put("/proc/self/cgroup", "0::/../other\ngarbage\n");
  EXPECT_EQ(memory_limits("", root_).cgroup_bytes, SIZE_MAX);
}

TEST(MemoryLimits, OfThisMachine) {
  const MemoryLimits limits = memory_limits("/dev/shm");
  EXPECT_GT(limits.available_bytes(), size_t{1} << 20);
  EXPECT_LT(limits.ram_bytes, size_t{1} << 50);
  EXPECT_EQ(memory_limits("/nowhere/at/all").shared_fs_bytes, 0u);
  EXPECT_NE(limits.text().find("free RAM"), std::string::npos);
}

TEST(BytesText, ForPeople) {
  EXPECT_EQ(bytes_text(12), "12 bytes");
  EXPECT_EQ(bytes_text(size_t{3} << 29), "1.5 GiB (1610612736 bytes)");
}

}  // namespace
}  // namespace lepton::comm
