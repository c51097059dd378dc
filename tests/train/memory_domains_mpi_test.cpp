// SPDX-License-Identifier: Apache-2.0
// NUMA domains as the kernel lists them in a made-up /sys: those that the node's ranks may run in count, and
// a thread finds its own.
#include "train/memory_domains.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "scratch.h"
#include "train/threads.h"

namespace lepton::train {
namespace {

/// A /sys with one domain per list of cores.
class FakeMachine {
 public:
  FakeMachine(const comm::World& world, const std::vector<std::string>& lists) : world_(world) {
    path = ::testing::TempDir() + "lepton-domains-" + std::to_string(getpid());
    world.broadcast(path);
    if (world.rank() == 0) {
      scratch_.emplace(path);
      for (size_t number = 0; number < lists.size(); ++number) {
        const std::string folder = path + "/sys/devices/system/node/node" + std::to_string(number);
        std::filesystem::create_directories(folder);
        std::ofstream(folder + "/cpulist") << lists[number] << "\n";
      }
    }
    world.barrier();
  }
  ~FakeMachine() { world_.barrier(); }
  std::string path;

 private:
  const comm::World& world_;
  std::optional<Scratch> scratch_;
};

TEST(MemoryDomains, OneWhereNothingIsKnown) {
  const comm::World world(60, 2);
  const MemoryDomains unread(world, "/nowhere");
  EXPECT_EQ(unread.count(), 1);
  EXPECT_EQ(unread.kernel_number(0), -1);
  EXPECT_EQ(unread.here(5), 0);
  EXPECT_EQ(MemoryDomains().count(), 1);
}

TEST(MemoryDomains, CountsThoseOfTheNodesCores) {
  const comm::World world(60, 1000);
  const std::vector<int> cores = local_cores().own;
  if (cores.size() < 2) GTEST_SKIP() << "one core only";
  const FakeMachine machine(world, {"999", std::to_string(cores[0]),
                                    std::to_string(cores[1]) + "-" + std::to_string(cores.back())});
  const MemoryDomains domains(world, machine.path);
  ASSERT_EQ(domains.count(), 2);  // nobody runs on core 999
  EXPECT_EQ(domains.kernel_number(0), 1);
  EXPECT_EQ(domains.kernel_number(1), 2);
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  for (int domain = 0; domain < 2; ++domain) {
    CPU_ZERO(&one);
    CPU_SET(cores[domain], &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(domains.here(0), domain);
  }
  sched_setaffinity(0, sizeof before, &before);
}

TEST(MemoryDomains, AllCoresInOneDomainAreOne) {
  const comm::World world(60, 1000);
  const FakeMachine machine(world, {"0-4095"});
  EXPECT_EQ(MemoryDomains(world, machine.path).count(), 1);
}

TEST(MemoryDomains, CanBePretended) {
  const comm::World world(60, 1);
  setenv("LEPTON_MEMORY_DOMAINS", "3", 1);
  const MemoryDomains domains(world);
  unsetenv("LEPTON_MEMORY_DOMAINS");
  world.barrier();
  EXPECT_EQ(domains.count(), 3);
  EXPECT_EQ(domains.here(4), 1);
  EXPECT_EQ(domains.kernel_number(2), -1);
}

}  // namespace
}  // namespace lepton::train
