// SPDX-License-Identifier: Apache-2.0
// States left in memory: found when whole, the newest one, put together from any nodes' slices and spread
// over the present ones; not found when a part is missing or damaged, of a later generation, or of another
// run.
#include "train/kept_search.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <optional>

#include "exact/slices.h"
#include "scratch.h"
#include "train/phases.h"

namespace lepton::train {
namespace {

namespace fs = std::filesystem;

class KeptSearch : public ::testing::Test {
 protected:
  KeptSearch() : world_(60, 1) {
    layout_.add("a", {100, 300}, TensorRole::parameter, true);
    layout_.finish();
    std::string path = ::testing::TempDir() + "lepton-kept-" + std::to_string(getpid());
    world_.broadcast(path);
    path_ = path;
    if (world_.rank() == 0) scratch_.emplace(path);
    world_.barrier();
  }
  ~KeptSearch() override { world_.barrier(); }

  NodeState state(int64_t generation) const {
    NodeSizes sizes{.max_samples = 8, .max_units = 8, .state = {.moments = 2}};
    sizes.kept_name = kept_name("run", generation, world_.node());
    sizes.kept_small_bytes = 4096;
    return NodeState(world_, layout_, sizes, exact::Lanes(1, world_.nodes(), 0, 0),
                     exact::cut_arena(layout_, world_.nodes()).elements, path_);
  }
  static float value(int64_t step, int array, int64_t i) {
    return static_cast<float>(std::sin(0.1 * static_cast<double>(i) + array) + static_cast<double>(step));
  }
  void fill(NodeState& node, int64_t generation, int64_t step, int slot) const {
    for (int64_t i = 0; i < layout_.elements(); ++i)
      node.parameters(slot)[static_cast<size_t>(i)] = value(step, 0, i);
    for (int m = 0; m < 2; ++m)
      for (int64_t i = node.slice_begin(); i < node.slice_end(); ++i)
        node.moment(slot, m)[static_cast<size_t>(i - node.slice_begin())] = value(step, 1 + m, i);
    hash_state(node, layout_, slot);
    if (!node.kept().label())
      node.kept().begin({generation, world_.node(), world_.nodes(), 2, layout_.elements(), node.slice_begin(),
                         node.slice_end()},
                        {"cpu", {{"run.seed", "7"}}, "data"});
    RunState run;
    run.step = step;
    run.last_ledger_line = "step=" + std::to_string(step);
    std::string small;
    run.encode_onto(RunState().encode(), Pending::nothing, small);
    ASSERT_TRUE(node.kept().commit(step, slot, small));
  }
  std::optional<KeptWhole> find(int64_t generation) const {
    world_.barrier();
    return find_kept(world_, path_, "run", generation, [](const RunState&) { return true; });
  }
  int64_t step_found(int64_t generation) const {
    const auto found = find(generation);
    return found ? found->state.step : -1;
  }
  size_t files() const {
    world_.barrier();
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(path_)) ++count;
    world_.barrier();
    return count;
  }

  const comm::World world_;
  ArenaLayout layout_;
  std::string path_;
  std::optional<Scratch> scratch_;
};

TEST_F(KeptSearch, TheNewestWholeStateIsFoundAndSpread) {
  EXPECT_FALSE(find(1));
  {
    NodeState node = state(3);
    fill(node, 3, 6, 0);
    fill(node, 3, 7, 1);
    if (world_.node() == 0) node.kept().overwrite(1);  // it died before it had made step 7
  }
  const auto found = find(4);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->state.step, 6);
  EXPECT_EQ(found->state.last_ledger_line, "step=6");
  EXPECT_EQ(found->identity.mathematical.at("run.seed"), "7");
  NodeState now = state(4);
  load_kept(world_, *found, now);
  if (world_.leads()) {
    for (int64_t i = 0; i < layout_.elements(); ++i)
      ASSERT_EQ(now.parameters(0)[static_cast<size_t>(i)], value(6, 0, i)) << i;
    for (int m = 0; m < 2; ++m)
      for (int64_t i = now.slice_begin(); i < now.slice_end(); ++i)
        ASSERT_EQ(now.moment(0, m)[static_cast<size_t>(i - now.slice_begin())], value(6, 1 + m, i)) << i;
  }
  EXPECT_EQ(files(), static_cast<size_t>(2 * world_.nodes()));
  remove_kept(world_, path_, "run", 4);
  EXPECT_EQ(files(), static_cast<size_t>(world_.nodes())) << "this generation's stay";
}

TEST_F(KeptSearch, OnlyOfThisRunAndOfFormerGenerations) {
  {
    NodeState node = state(3);
    fill(node, 3, 6, 0);
  }
  EXPECT_EQ(step_found(4), 6);
  EXPECT_EQ(step_found(3), -1);
  EXPECT_FALSE(find_kept(world_, path_, "another", 4, [](const RunState&) { return true; }));
  {
    NodeState node = state(5);
    fill(node, 5, 2, 0);
  }
  EXPECT_EQ(step_found(9), 6) << "the newest step, whatever the generation";
}

TEST_F(KeptSearch, WhatIsMissingOrDamagedIsNotPutTogether) {
  {
    NodeState node = state(3);
    fill(node, 3, 6, 0);
    fill(node, 3, 7, 1);
    // A flipped bit in one node's moments of step 7.
    if (world_.node() == 0 && !node.moment(1, 0).empty()) node.moment(1, 0)[17] += 1e-6f;
  }
  EXPECT_EQ(step_found(4), 6);
  world_.barrier();
  if (world_.rank() == 0) fs::resize_file(path_ + "/" + kept_name("run", 3, 0), 3000);
  EXPECT_EQ(step_found(4), -1);
  world_.barrier();
  if (world_.rank() == 0) fs::remove(path_ + "/" + kept_name("run", 3, 0));
  EXPECT_EQ(step_found(4), -1);
}

}  // namespace
}  // namespace lepton::train
