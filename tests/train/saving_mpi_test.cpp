// SPDX-License-Identifier: Apache-2.0
// A leader's part in checkpoints: what it votes, when threads are to copy, what follows from the nodes'
// reports, and the last state of a run.
#include "train/saving.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "base/failpoint.h"
#include "checkpoint/reader.h"
#include "errors.h"
#include "exact/slices.h"
#include "scratch.h"
#include "train/phases.h"

namespace lepton::train {
namespace {

/// One rank per node, a state of some blocks, and a writer.
class SavingTest : public ::testing::Test {
 protected:
  SavingTest() : world_(60, 1) {
    layout_.add("a", {5000}, TensorRole::parameter, true);
    layout_.finish();
    const exact::Slices slices = exact::cut_arena(layout_, world_.nodes());
    node_.emplace(world_, layout_, NodeSizes{.max_samples = 8, .max_units = 8}, lanes(), slices.elements,
                  "/dev/shm");
    std::string path = ::testing::TempDir() + "lepton-saving-" + std::to_string(getpid());
    if (world_.leads()) hash_state(*node_, layout_, 0);
    world_.broadcast(path);
    if (world_.rank() == 0) scratch_.emplace(path);
    world_.barrier();
    checkpoint::WriterSpec spec{{path}, 3, "/dev/shm", {}, slices.elements};
    spec.layout.elements = layout_.elements();
    spec.layout.arrays = {"parameters"};
    writer_.emplace(world_, spec, [] {});
    path_ = path;
  }
  ~SavingTest() override {
    arm_failpoints("");
    world_.barrier();
  }
  exact::Lanes lanes() const { return {1, world_.nodes(), 0, 0}; }
  RunState state(int64_t step) const {
    RunState state;
    state.step = step;
    return state;
  }
  /// Until all nodes have said how their parts went, as rounds of training do.
  void observe_until_all_reported(Saving& saving) {
    for (;;) {
      exact::Lanes mine = lanes();
      saving.progress();
      saving.vote(mine, -1);
      std::vector<int64_t> reports{mine.checkpoint_reports(), mine.checkpoint_failures()};
      world_.all_sum(reports);
      exact::Lanes total = lanes();
      total.checkpoint_reports() = reports[0];
      total.checkpoint_failures() = reports[1];
      saving.observe(total);
      if (reports[0] + reports[1] == world_.nodes()) return;
    }
  }
  std::vector<std::string> committed() {
    writer_->finish();
    return checkpoint::list_checkpoints(path_);
  }
  /// Of a checkpoint whose writing meets this fault nothing stays.
  void expect_abandoned(Saving& saving, const std::string& fault) {
    arm_failpoints(fault);
    saving.begin(state(4));
    observe_until_all_reported(saving);
    arm_failpoints("");
    EXPECT_TRUE(committed().empty()) << fault;
  }

  const comm::World world_;
  ArenaLayout layout_;
  std::optional<NodeState> node_;
  std::optional<Scratch> scratch_;
  std::optional<checkpoint::Writer> writer_;
  checkpoint::Identity identity_;
  std::string path_;
};

TEST_F(SavingTest, WithoutAWriterNothingIsSaved) {
  Saving saving(world_, *node_, nullptr, identity_, nullptr);
  exact::Lanes mine = lanes();
  saving.vote(mine, 3);
  EXPECT_EQ(mine.checkpoint_votes() + mine.checkpoint_reports(), 0);
  saving.progress();
  EXPECT_FALSE(saving.take_last(5));
  saving.fail();
  saving.close(5, "run");
}

TEST_F(SavingTest, AVoteIsTakenOnce) {
  Saving saving(world_, *node_, &*writer_, identity_, nullptr);
  EXPECT_FALSE(saving.take_due());
  exact::Lanes total = lanes();
  total.checkpoint_votes() = 1;
  saving.observe(total);
  node_->control().copy_next = 7;
  EXPECT_TRUE(saving.take_due());
  EXPECT_EQ(node_->control().copy_next, 0) << "threads copy from the first block on";
  EXPECT_FALSE(saving.take_due());
}

TEST_F(SavingTest, WhatAllNodesHaveWrittenIsCommitted) {
  Saving saving(world_, *node_, &*writer_, identity_, nullptr);
  saving.begin(state(4));
  observe_until_all_reported(saving);
  EXPECT_EQ(committed().size(), 1u);
  exact::Lanes mine = lanes();
  saving.vote(mine, -1);
  EXPECT_EQ(mine.checkpoint_reports(), 0) << "nothing is in flight any more";
  EXPECT_FALSE(saving.take_last(4)) << "it is saved";
  EXPECT_TRUE(saving.take_last(5));
}

TEST_F(SavingTest, WhatSomeNodeCouldNotWriteIsAbandoned) {
  Saving saving(world_, *node_, &*writer_, identity_, nullptr);
  expect_abandoned(saving, "point=checkpoint.sync,action=error");
}

TEST_F(SavingTest, ACopyWithAFlippedBitIsAbandoned) {
  Saving saving(world_, *node_, &*writer_, identity_, nullptr);
  expect_abandoned(saving, "point=snapshot,action=flip");
  std::ranges::fill(copy_for(*writer_, *node_)[0], 0.0f);  // as threads copy the state
  saving.begin(state(5));
  observe_until_all_reported(saving);
  EXPECT_EQ(committed().size(), 1u) << "the state itself is whole";
}

TEST_F(SavingTest, ALastStateThatCannotBeWrittenIsAnError) {
  Saving saving(world_, *node_, &*writer_, identity_, nullptr);
  saving.saved(3);
  EXPECT_FALSE(saving.take_last(3)) << "the run began with it";
  EXPECT_TRUE(saving.take_last(4));
  arm_failpoints("point=checkpoint.sync,action=error");
  saving.begin(state(4));
  expect_error_of([&] { saving.close(4, "the run"); }, Exit::io, {"step 4 could not be written", "intact"});
  saving.close(4, "the run");  // nothing is in flight
}

}  // namespace
}  // namespace lepton::train
