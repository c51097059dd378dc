// SPDX-License-Identifier: Apache-2.0
// Whole checkpoints: written on any number of nodes, read back anywhere, the same bytes whatever the nodes;
// failures of any part cost that checkpoint and nothing else; retention; what dead runs left.
#include "checkpoint/writer.h"

#include <algorithm>

#include "base/failpoint.h"
#include "base/log.h"
#include "checkpoint/reader.h"
#include "mpi_sample.h"

namespace lepton::checkpoint {
namespace {

const StateLayout layout = {10000, {"parameters", "adam.m", "adam.v"}, 1500};

/// A run's writer with a state whose values are known.
struct Job {
  Job(const comm::World& of_world, const std::string& directory, int keep = 3)
      : world(of_world),
        slices(sample_slices(layout.elements, world.nodes(), 256)),
        writer(world, {{directory}, keep, "/dev/shm", layout, slices, 1}, [this] { ++ledger_syncs; }) {}

  void begin(int64_t step) {
    const size_t node = static_cast<size_t>(world.node());
    if (world.leads())
      for (int a = 0; a < 3; ++a) {
        const std::span<float> copy = writer.copy_of(a);
        for (size_t i = 0; i < copy.size(); ++i)
          copy[i] = sample_value(step, static_cast<size_t>(a), slices[node] + static_cast<int64_t>(i));
      }
    run_context().step = step;
    if (world.leads()) writer.begin(step, sample_small_state(step), sample_identity);
  }
  /// The vote in the lanes: steps until no part is under way, then commit or abandon together.
  bool vote() {
    while (true) {
      writer.progress();
      const Writer::Part part = world.leads() ? writer.part() : Writer::Part::durable;
      std::vector<int64_t> lanes = {part == Writer::Part::under_way, part == Writer::Part::failed};
      world.all_sum(lanes);
      if (lanes[0] > 0) continue;
      if (world.leads()) lanes[1] == 0 ? writer.commit() : writer.abandon();
      return lanes[1] == 0;
    }
  }
  bool finish() { return world.leads() ? writer.finish() : true; }

  const comm::World& world;
  std::vector<int64_t> slices;
  std::atomic<int> ledger_syncs = 0;
  Writer writer;
};

void expect_state(const std::string& checkpoint, int64_t step) {
  const Reader reader(checkpoint);
  EXPECT_EQ(reader.small_state(), sample_small_state(step));
  EXPECT_EQ(reader.manifest().step, step);
  for (size_t a = 0; a < 3; ++a) {
    std::vector<float> values(static_cast<size_t>(layout.elements));
    reader.read(layout.arrays[a], 0, layout.elements, values);
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(values[i], sample_value(step, a, static_cast<int64_t>(i))) << a << " " << i;
  }
}

TEST(Writer, writes_on_any_nodes_the_same_bytes) {
  std::map<std::string, std::string> first;
  for_each_world([&](const comm::World& world) {
    const SharedScratch scratch(world);
    {
      Job run(world, scratch.path() + "/deep/checkpoints");
      EXPECT_FALSE(run.writer.busy());
      run.begin(500);
      EXPECT_TRUE(run.vote());
      EXPECT_TRUE(run.finish());
      EXPECT_FALSE(run.writer.busy());
      EXPECT_EQ(run.ledger_syncs, world.rank() == 0 ? 1 : 0);
      EXPECT_EQ(run.writer.last_duration_s() > 0, world.leads());
      run.begin(501);  // and finish() alone
      EXPECT_TRUE(run.finish());
    }
    world.barrier();
    expect_state(scratch.path() + "/deep/checkpoints/step-00000500", 500);
    expect_state(scratch.path() + "/deep/checkpoints/step-00000501", 501);
    const std::map<std::string, std::string> contents = contents_of(scratch.path());
    EXPECT_EQ(contents.size(), 4 * (7u + 2u));
    if (first.empty()) first = contents;
    EXPECT_EQ(contents, first);
  });
}

TEST(Writer, bytes_equal_those_of_one_process) {
  const comm::World world(60, 1);
  const SharedScratch scratch(world);
  {
    Job run(world, scratch.path() + "/many");
    run.begin(7);
    EXPECT_TRUE(run.finish());
  }
  if (world.rank() == 0) {
    std::filesystem::create_directory(scratch.path() + "/one");
    write_sample(scratch.path() + "/one", layout, 7, 1);
    EXPECT_EQ(contents_of(scratch.path() + "/many"), contents_of(scratch.path() + "/one"));
  }
}

TEST(Writer, tells_once_what_a_commit_took) {
  for_each_world([&](const comm::World& world) {
    const SharedScratch scratch(world);
    Job run(world, scratch.path());
    run.begin(7);
    EXPECT_TRUE(run.finish());
    if (world.rank() == 0) {
      const std::optional<Committed> committed = run.writer.take_committed();
      ASSERT_TRUE(committed);
      EXPECT_EQ(committed->step, 7);
      EXPECT_GE(committed->seconds, committed->writing_s);
      EXPECT_GT(committed->writing_s, 0);
      int64_t bytes = 0;
      for (const auto& [name, content] : contents_of(scratch.path()))
        if (name.find("manifest") == std::string::npos) bytes += static_cast<int64_t>(content.size());
      EXPECT_EQ(committed->bytes, bytes);
      EXPECT_LE(committed->own_bytes, bytes);
      EXPECT_EQ(committed->own_bytes == bytes, world.nodes() == 1);
      EXPECT_FALSE(run.writer.take_committed());
    }
    world.barrier();
  });
}

TEST(Writer, finish_without_a_checkpoint) {
  for_each_world([&](const comm::World& world) {
    const SharedScratch scratch(world);
    Job run(world, scratch.path());
    if (world.leads()) {
      EXPECT_FALSE(run.finish());
      EXPECT_EQ(run.writer.part(), Writer::Part::none);
    }
  });
}

TEST(Writer, a_failed_part_costs_this_checkpoint_only) {
  for_each_world([&](const comm::World& world) {
    const int last = world.leader_of(world.nodes() - 1);
    for (const std::string point : {"checkpoint.write", "checkpoint.sync"}) {
      for (const int rank : {0, last}) {
        const SharedScratch scratch(world);
        Job run(world, scratch.path());
        run.begin(1);
        EXPECT_TRUE(run.vote());
        EXPECT_TRUE(run.finish());
        run_context().rank = world.rank();
        arm_failpoints("point=" + point + ",rank=" + std::to_string(rank) + ",step=2,action=error");
        run.begin(2);
        EXPECT_FALSE(run.vote());
        EXPECT_FALSE(run.finish() && world.leads());
        run.begin(3);
        EXPECT_TRUE(run.finish());
        arm_failpoints("");
        world.barrier();
        const std::vector<std::string> expected = {"step-00000001", "step-00000003"};
        EXPECT_EQ(storage::list_directory(scratch.path()), expected) << point << " " << rank;
        expect_state(scratch.path() + "/step-00000001", 1);
        expect_state(scratch.path() + "/step-00000003", 3);
      }
    }
  });
}

TEST(Writer, a_failed_commit_costs_this_checkpoint_only) {
  const comm::World world(60, 2);
  for (const std::string point : {"checkpoint.manifest", "checkpoint.rename"}) {
    const SharedScratch scratch(world);
    Job run(world, scratch.path());
    run.begin(1);
    EXPECT_TRUE(run.finish());
    arm_failpoints("point=" + point + ",action=error");
    run.begin(2);
    EXPECT_FALSE(run.finish() && world.leads()) << point;
    arm_failpoints("");
    world.barrier();
    EXPECT_EQ(storage::list_directory(scratch.path()), std::vector<std::string>{"step-00000001"}) << point;
  }
}

TEST(Writer, keeps_as_many_as_asked_even_if_pruning_fails_once) {
  const comm::World world(60, 2);
  const SharedScratch scratch(world);
  Job run(world, scratch.path(), 2);
  for (int64_t step = 1; step <= 5; ++step) {
    if (step == 4) arm_failpoints("point=checkpoint.prune,action=error");
    run.begin(step);
    EXPECT_TRUE(run.vote());
    EXPECT_TRUE(run.finish());
    arm_failpoints("");
  }
  world.barrier();
  EXPECT_EQ(storage::list_directory(scratch.path()),
            (std::vector<std::string>{"step-00000004", "step-00000005"}));
}

TEST(Writer, a_restart_from_an_older_state_keeps_what_is_identical) {
  const comm::World world(60, 1);
  const SharedScratch scratch(world);
  const std::string damaged = scratch.path() + "/step-00000003/shard-00002.h5";
  for (int start = 0; start < 2; ++start) {
    Job run(world, scratch.path());
    for (int64_t step = 1; step <= 3; ++step) {
      run.begin(step);
      EXPECT_TRUE(run.finish());
    }
    if (start == 0 && world.rank() == 0) write_text(damaged, "damaged");
    if (start == 0 && world.rank() == 0)
      std::filesystem::create_directory(scratch.path() + "/step-00000009.tmp-7");
    world.barrier();
  }
  EXPECT_EQ(storage::list_directory(scratch.path()),
            (std::vector<std::string>{"step-00000001", "step-00000002", "step-00000003",
                                      "step-00000003.damaged-1"}));
  for (int64_t step = 1; step <= 3; ++step) expect_state(scratch.path() + "/" + step_name(step), step);
}

TEST(Writer, dropped_while_writing_it_leaves_an_unfinished_directory_only) {
  const comm::World world(60, 1000);
  const SharedScratch scratch(world);
  {
    Job run(world, scratch.path());
    run.begin(1);
  }
  world.barrier();
  EXPECT_TRUE(list_checkpoints(scratch.path()).empty());
  Job run(world, scratch.path());
  world.barrier();
  EXPECT_TRUE(storage::list_directory(scratch.path()).empty());
}

}  // namespace
}  // namespace lepton::checkpoint
