// SPDX-License-Identifier: Apache-2.0
// The file of a node's state goes with its object until the run has begun, stays from then on, and replaces
// those of former starts.
#include "train/kept_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "loaded.h"
#include "small_runs.h"
#include "train/kept_search.h"
#include "train/phases.h"
#include "train/resume.h"

namespace lepton::train {
namespace {

TEST(KeptFile, StaysFromTheBeginOfTheRunToItsEnd) {
  const SmallRuns runs;
  const comm::World world(60, 1);
  const std::string shm = runs.file("shm");
  if (world.rank() == 0) std::filesystem::create_directories(shm);
  world.barrier();
  const Deck deck = load_deck(world, runs.options("dense.toml", "run", {{"run.shm_dir", shm}}));
  RunState state;
  state.step = 5;
  for (const int64_t generation : {1, 2, 3}) {
    Job job(world, deck, nullptr, true, false, kept_name(deck.run.directory, generation, world.node()));
    const std::string path = job.node.kept_path();
    ASSERT_FALSE(path.empty());
    {
      KeptFile file(job.node);
      if (generation < 3) {
        initialise_state(world, job.graph, 1, job.node);
        if (world.leads()) hash_state(job.node, job.graph.layout, 0);
        file.begin(job, generation, {"cpu", {}, "data"}, state);
      }
    }
    EXPECT_EQ(std::filesystem::exists(path), generation < 3) << "a start that never began leaves nothing";
    world.barrier();
    const auto found = find_kept(world, shm, deck.run.directory, 9, [](const RunState&) { return true; });
    ASSERT_TRUE(found);
    EXPECT_EQ(found->parameters.label.generation, std::min<int64_t>(generation, 2));
    EXPECT_EQ(found->state.step, 5);
    if (generation != 2) continue;
    KeptFile again(job.node);
    again.begin(job, generation, {"cpu", {}, "data"}, state);
  }
}

}  // namespace
}  // namespace lepton::train
