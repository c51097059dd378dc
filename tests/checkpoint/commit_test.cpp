// SPDX-License-Identifier: Apache-2.0
// The end of the commit protocol: what is there after it, after a failure at each of its points, and what
// pruning and cleaning remove and leave.
#include "checkpoint/commit.h"

#include <csignal>
#include <filesystem>

#include "base/error.h"
#include "base/failpoint.h"
#include "checkpoint/reader.h"
#include "sample.h"

namespace lepton::checkpoint {
namespace {

const StateLayout layout = {300, {"parameters"}, 200};

std::vector<std::string> names(const std::string& directory) {
  return storage::list_directory(directory);
}

using Names = std::vector<std::string>;

TEST(Commit, leaves_one_intact_directory) {
  const Scratch scratch;
  const std::string checkpoint = write_sample(scratch.path(), layout, 5);
  EXPECT_EQ(names(scratch.path()), Names{"step-00000005"});
  EXPECT_EQ(names(checkpoint), (Names{"manifest.json", "shard-00000.h5", "shard-00001.h5", "state.bin"}));
  EXPECT_TRUE(verify(checkpoint).empty());
}

TEST(Commit, failure_at_any_point_leaves_no_checkpoint) {
  for (const std::string point :
       {"checkpoint.manifest", "checkpoint.write", "checkpoint.sync", "checkpoint.rename"}) {
    const Scratch scratch;
    const Manifest manifest = write_unfinished(scratch.path(), layout, 5, "state");
    arm_failpoints("point=" + point + ",action=error");
    EXPECT_THROW(commit_checkpoint({scratch.path()}, manifest), Error) << point;
    arm_failpoints("");
    EXPECT_TRUE(list_checkpoints(scratch.path()).empty()) << point;
    remove_unfinished({scratch.path()}, 5);
    EXPECT_TRUE(names(scratch.path()).empty()) << point;
  }
}

TEST(Commit, killed_at_any_point_leaves_only_intact_checkpoints) {
  for (const std::string point : {"checkpoint.write", "checkpoint.sync", "checkpoint.manifest",
                                  "checkpoint.rename", "checkpoint.prune"}) {
    const Scratch scratch;
    write_sample(scratch.path(), layout, 4);
    write_text(write_sample(scratch.path(), layout, 5) + "/state.bin", "damaged");
    const auto commit_and_die = [&] {
      arm_failpoints("point=" + point + ",action=kill");
      write_sample(scratch.path(), layout, 5);
      prune_checkpoints({scratch.path()}, 5, 1);
    };
    EXPECT_EXIT(commit_and_die(), testing::KilledBySignal(SIGKILL), "") << point;
    remove_all_unfinished(scratch.path());
    EXPECT_TRUE(verify(scratch.path() + "/step-00000004").empty()) << point;
    const bool committed = verify(scratch.path() + "/step-00000005").empty();
    EXPECT_EQ(committed, point == "checkpoint.prune") << point;
  }
}

TEST(Commit, a_bit_flipped_in_the_manifest_is_found_later) {
  const Scratch scratch;
  const Manifest manifest = write_unfinished(scratch.path(), layout, 5, "state");
  arm_failpoints("point=checkpoint.manifest,action=flip");
  commit_checkpoint({scratch.path()}, manifest);
  arm_failpoints("");
  ASSERT_EQ(verify(scratch.path() + "/step-00000005").size(), 1u);
  EXPECT_EQ(verify(scratch.path() + "/step-00000005")[0].file, "manifest.json");
}

TEST(Commit, an_identical_checkpoint_is_kept) {
  const Scratch scratch;
  const std::string checkpoint = write_sample(scratch.path(), layout, 5);
  write_text(checkpoint + "/stray", "kept");
  write_sample(scratch.path(), layout, 5);
  EXPECT_EQ(names(scratch.path()), Names{"step-00000005"});
  EXPECT_EQ(read_text(checkpoint + "/stray"), "kept");
}

TEST(Commit, a_damaged_one_is_moved_aside) {
  const Scratch scratch;
  const std::string checkpoint = write_sample(scratch.path(), layout, 5);
  write_text(checkpoint + "/shard-00001.h5", "damaged");
  write_sample(scratch.path(), layout, 5);
  EXPECT_EQ(names(scratch.path()), (Names{"step-00000005", "step-00000005.damaged-1"}));
  EXPECT_EQ(read_text(scratch.path() + "/step-00000005.damaged-1/shard-00001.h5"), "damaged");
  EXPECT_TRUE(verify(checkpoint).empty());
  write_text(checkpoint + "/state.bin", "damaged");
  write_sample(scratch.path(), layout, 5);
  EXPECT_EQ(names(scratch.path()),
            (Names{"step-00000005", "step-00000005.damaged-1", "step-00000005.damaged-2"}));
  EXPECT_EQ(list_checkpoints(scratch.path()).size(), 1u);
}

TEST(Commit, an_intact_one_of_another_state_is_replaced_and_never_lost) {
  const Scratch scratch;
  const std::string checkpoint = write_sample(scratch.path(), layout, 5);
  const Names only{"step-00000005"}, interrupted{"step-00000005.previous", "step-00000005.tmp-0"};
  const auto commit = [&] {
    commit_checkpoint({scratch.path()}, write_unfinished(scratch.path(), layout, 5, "another state"));
  };
  const std::string before = read_text(checkpoint + "/state.bin");
  arm_failpoints("point=checkpoint.replace,action=error");
  EXPECT_THROW(commit(), Error);
  arm_failpoints("");
  EXPECT_EQ(names(scratch.path()), interrupted);
  ASSERT_EQ(list_checkpoints(scratch.path()), (Names{checkpoint + ".previous"}));
  EXPECT_TRUE(verify(checkpoint + ".previous").empty());
  remove_all_unfinished(scratch.path());
  EXPECT_EQ(names(scratch.path()), only);
  EXPECT_EQ(read_text(checkpoint + "/state.bin"), before);
  commit();
  EXPECT_EQ(names(scratch.path()), only);
  EXPECT_NE(read_text(checkpoint + "/state.bin"), before);
  std::filesystem::create_directory(checkpoint + ".previous");  // killed while it was removed
  EXPECT_EQ(list_checkpoints(scratch.path()), (Names{checkpoint}));
  remove_all_unfinished(scratch.path());
  EXPECT_EQ(names(scratch.path()), only);
}

TEST(Commit, a_file_that_is_not_visible_fails) {
  const Scratch scratch;
  const Manifest manifest = write_unfinished(scratch.path(), layout, 5, "state");
  storage::remove_tree(unfinished_path({scratch.path()}, 5) + "/shard-00001.h5");
  try {
    commit_checkpoint({scratch.path()}, manifest, 0.15);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_NE(error.where().find("shard-00001.h5"), std::string::npos);
  }
  EXPECT_TRUE(list_checkpoints(scratch.path()).empty());
}

TEST(Prune, keeps_the_newest_and_newer_ones) {
  const Scratch scratch;
  for (const int64_t step : {1, 2, 3, 4, 9}) write_sample(scratch.path(), layout, step);
  write_text(scratch.path() + "/notes.txt", "mine");
  prune_checkpoints({scratch.path()}, 4, 2);  // 9 was found damaged by the run that has just written 4
  EXPECT_EQ(names(scratch.path()), (Names{"notes.txt", "step-00000003", "step-00000004", "step-00000009"}));
  prune_checkpoints({scratch.path()}, 4, 0);
  EXPECT_EQ(names(scratch.path()), (Names{"notes.txt", "step-00000004", "step-00000009"}));
}

TEST(Prune, a_failure_leaves_no_half_checkpoint) {
  const Scratch scratch;
  for (const int64_t step : {1, 2, 3}) write_sample(scratch.path(), layout, step);
  arm_failpoints("point=checkpoint.prune,action=error,count=2");
  EXPECT_THROW(prune_checkpoints({scratch.path()}, 3, 1), Error);
  arm_failpoints("");
  EXPECT_EQ(names(scratch.path()), (Names{"step-00000001", "step-00000003"}));
  for (const std::string& checkpoint : list_checkpoints(scratch.path()))
    EXPECT_TRUE(verify(checkpoint).empty());
}

TEST(Clean, removes_what_dead_runs_left_and_nothing_else) {
  const Scratch scratch;
  write_sample(scratch.path(), layout, 1);
  write_unfinished(scratch.path(), layout, 2, "state");
  write_unfinished(scratch.path(), layout, 3, "state");
  write_text(scratch.path() + "/mine.tmp", "");
  remove_all_unfinished(scratch.path());
  EXPECT_EQ(names(scratch.path()), (Names{"mine.tmp", "step-00000001"}));
}

TEST(Commit, a_replaced_job_commits_nothing_and_leaves_the_others_writing_alone) {
  const Scratch scratch;
  bool owned = true;
  const Place replaced{scratch.path(), 3, [&owned] {
                         if (!owned) throw Error(Exit::run_directory, "run", "replaced", "");
                       }};
  const Place present{scratch.path(), 4};
  const Manifest manifest = write_unfinished(scratch.path(), layout, 5, "state");
  std::filesystem::rename(unfinished_path({scratch.path()}, 5), unfinished_path(replaced, 5));
  std::filesystem::create_directory(unfinished_path(present, 5));
  owned = false;
  EXPECT_THROW(commit_checkpoint(replaced, manifest), Error);
  EXPECT_TRUE(list_checkpoints(scratch.path()).empty());
  EXPECT_TRUE(std::filesystem::exists(unfinished_path(present, 5)));
  remove_unfinished(replaced, 5);
  EXPECT_EQ(names(scratch.path()), Names{"step-00000005.tmp-4"});
}

}  // namespace
}  // namespace lepton::checkpoint
