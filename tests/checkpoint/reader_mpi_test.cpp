// SPDX-License-Identifier: Apache-2.0
// newest_valid() on all ranks: the newest when it is intact, the one before a damaged one, nothing in an
// empty folder, and one agreed error when all are bad. The answer is the same on every rank.
#include <set>

#include "base/error.h"
#include "checkpoint/reader.h"
#include "mpi_sample.h"

namespace lepton::checkpoint {
namespace {

const StateLayout layout = {1000, {"parameters", "adam.m"}, 200};

void on_rank_0(const comm::World& world, const std::function<void()>& work) {
  if (world.rank() == 0) work();
  world.barrier();
}

std::string path_of(const std::optional<Valid>& found) {
  return found ? found->path : "";
}

TEST(NewestValid, nothing_in_an_empty_or_missing_folder) {
  const comm::World world(60);
  const SharedScratch scratch(world);
  EXPECT_FALSE(newest_valid(world, scratch.path()));
  EXPECT_FALSE(newest_valid(world, scratch.path() + "/missing"));
}

TEST(NewestValid, falls_back_from_damage_in_any_file) {
  const comm::World world(60);
  const SharedScratch scratch(world);
  const std::string old_one = scratch.path() + "/step-00000003", new_one = scratch.path() + "/step-00000012";
  on_rank_0(world, [&] {
    write_sample(scratch.path(), layout, 3);
    write_sample(scratch.path(), layout, 12);
    write_unfinished(scratch.path(), layout, 15, "state");
  });
  EXPECT_EQ(path_of(newest_valid(world, scratch.path())), new_one);
  for (const std::string file : {"manifest.json", "shard-00000.h5", "shard-00004.h5", "state.bin"}) {
    const std::string path = new_one + "/" + file, whole = read_text(path);
    on_rank_0(world, [&] { write_text(path, whole.substr(0, whole.size() - 1)); });
    EXPECT_EQ(path_of(newest_valid(world, scratch.path())), old_one) << file;
    on_rank_0(world, [&] { std::filesystem::remove(path); });
    EXPECT_EQ(path_of(newest_valid(world, scratch.path())), old_one) << file;
    on_rank_0(world, [&] { write_text(path, whole); });
  }
  EXPECT_EQ(path_of(newest_valid(world, scratch.path())), new_one);
}

TEST(NewestValid, damage_that_heals_is_told_on_all_ranks_and_no_reason_to_fall_back) {
  const comm::World world(60);
  const SharedScratch scratch(world);
  const std::string newest = scratch.path() + "/step-00000012";
  on_rank_0(world, [&] {
    write_sample(scratch.path(), layout, 3, 2);
    write_sample(scratch.path(), layout, 12, 2);
    for (const char* file : {"/manifest.json", "/shard-00003.h5"}) write_text(newest + file, "");
    std::filesystem::remove(newest + "/state.bin.parity");
  });
  const std::optional<Valid> found = newest_valid(world, scratch.path());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->path, newest);
  std::set<std::string> files;
  for (const Damage& damage : found->damages) {
    files.insert(damage.file);
    EXPECT_TRUE(damage.heals);
    EXPECT_FALSE(damage.what.empty());
  }
  EXPECT_EQ(files, (std::set<std::string>{"manifest.json", "shard-00003.h5", "state.bin.parity"}));
  EXPECT_EQ(Reader(newest).small_state(), sample_small_state(12));
}

TEST(NewestValid, all_bad_is_one_agreed_error) {
  const comm::World world(60);
  const SharedScratch scratch(world);
  on_rank_0(world, [&] {
    write_text(write_sample(scratch.path(), layout, 3) + "/shard-00001.h5", "");
    std::filesystem::remove(write_sample(scratch.path(), layout, 4) + "/manifest.json");
  });
  try {
    newest_valid(world, scratch.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::data);
    EXPECT_TRUE(error.agreed());
    for (const char* named : {"step-00000003", "shard-00001.h5", "step-00000004", "manifest.json"})
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lepton::checkpoint
