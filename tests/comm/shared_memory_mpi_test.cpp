// SPDX-License-Identifier: Apache-2.0
// Shared memory: the same bytes on all ranks of a node, or of a machine, and on no other, no names left
// behind, the memfd way, and the error when there is not enough.
#include "comm/shared_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "comm/worlds.h"

namespace lepton::comm {
namespace {

/// Every rank of the node writes its word; every rank must see all of them and nothing of another node.
void expect_shared(const World& world, const std::string& directory) {
  const size_t words = 100'000;
  const SharedMemory memory(world, directory, "test", words * sizeof(int64_t));
  const std::span<int64_t> all = memory.as<int64_t>();
  ASSERT_EQ(all.size(), words);
  for (size_t i = 0; i < words; i += 511) EXPECT_EQ(all[i], 0);
  world.node_barrier();
  const auto place = [&](int node_rank) { return words - 1 - 777 * static_cast<size_t>(node_rank); };
  all[place(world.node_rank())] = world.rank() + 1;
  world.node_barrier();
  for (int r = 0; r < world.node_size(); ++r) EXPECT_EQ(all[place(r)], world.leader_of(world.node()) + r + 1);
  for (int r = world.node_size(); r < 7; ++r) EXPECT_EQ(all[place(r)], 0);
  world.node_barrier();
}

TEST(SharedMemory, IsSharedByTheNodeOnly) {
  for_each_world([](const World& world) { expect_shared(world, "/dev/shm"); });
}

TEST(SharedMemory, OfAMachineIsSharedByAllItsNodes) {
  for_each_machines([](const World& world, int, Alone) {
    for (const char* directory : {"/dev/shm", "/nowhere/at/all"}) {
      const SharedMemory memory = SharedMemory::of_machine(world, directory, "test", 7 * sizeof(int64_t));
      const std::span<int64_t> all = memory.as<int64_t>();
      ASSERT_EQ(all.size(), 7u);
      for (const int64_t word : all) EXPECT_EQ(word, 0);
      world.barrier();
      if (world.machine_rank() == world.machine_size() - 1)  // who does not wait for it sees zeros
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      all[static_cast<size_t>(world.machine_rank())] = world.rank() + 1;
      world.barrier();
      const int first = world.rank() - world.machine_rank();  // these machines are consecutive ranks
      for (int r = 0; r < 7; ++r)
        EXPECT_EQ(all[static_cast<size_t>(r)], r < world.machine_size() ? first + r + 1 : 0);
      world.barrier();
    }
  });
}

TEST(SharedMemory, WorksWithoutAFileSystem) {
  for_each_world([](const World& world) { expect_shared(world, "/nowhere/at/all"); });
}

TEST(SharedMemory, LeavesNoNames) {
  const World world;
  const std::string purpose = std::string("names-").append(std::to_string(getppid()));  // of this mpirun
  const SharedMemory memory(world, "/dev/shm", purpose, 4096);
  world.barrier();  // the leader removes the name when all have attached, which it is the last to know
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm"))
    EXPECT_EQ(entry.path().string().find(purpose), std::string::npos) << entry.path();
}

TEST(SharedMemory, TooMuchIsAnErrorWithBothNumbersOnAllRanks) {
  for_each_world([](const World& world) {
    const size_t much = size_t{1} << 46;
    try {
      const SharedMemory memory(world, "/dev/shm", "huge", much);
      ADD_FAILURE() << "64 TiB were there";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::memory);
      EXPECT_NE(error.problem().find("needed 64.0 TiB"), std::string::npos) << error.what();
      EXPECT_NE(error.problem().find("available"), std::string::npos) << error.what();
    }
    EXPECT_THROW(SharedMemory::of_machine(world, "/dev/shm", "huge", much), Error);
  });
}

TEST(SharedMemory, MovesAndMayBeEmpty) {
  const World world;
  SharedMemory first(world, "/dev/shm", "move", 64);
  std::byte* const data = first.data();
  SharedMemory second(std::move(first));
  EXPECT_EQ(second.data(), data);
  SharedMemory third(world, "/dev/shm", "empty", 0);
  EXPECT_EQ(third.bytes(), 0u);
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_EQ(third.bytes(), 64u);
}

}  // namespace
}  // namespace lepton::comm
