// SPDX-License-Identifier: Apache-2.0
// What a job puts together: threads of all ranks numbered through each node, steps and rounds, memory for
// moments or none, the confusion matrix where it makes sense, and the warning where units are few.
#include "train/job.h"

#include <gtest/gtest.h>

#include "small_runs.h"

namespace lepton::train {
namespace {

Deck deck_of(const SmallRuns& runs, const std::string& name, std::vector<Override> overrides = {}) {
  return load_deck(runs.world(), runs.options(name, "run", std::move(overrides)));
}

TEST(Job, NumbersThreadsThroughTheNode) {
  const SmallRuns runs;
  for (const int ranks_per_node : {1000, 1, 2, 3}) {
    const comm::World world(60, ranks_per_node);
    const Deck deck = deck_of(runs, "dense.toml", {{"train.threads", "2"}});
    const Job job(world, deck, nullptr, true, false);
    EXPECT_EQ(job.threads, 2);
    EXPECT_EQ(job.node_threads, 2 * world.node_size());
    EXPECT_EQ(job.thread_base, 2 * world.node_rank());
    ASSERT_EQ(job.threads_per_node.size(), static_cast<size_t>(world.nodes()));
    int total = 0;
    for (const int threads : job.threads_per_node) total += threads;
    EXPECT_EQ(total, 2 * world.size());
    world.barrier();
  }
}

TEST(Job, CountsStepsAndEvaluationRounds) {
  const SmallRuns runs;
  const Deck deck = deck_of(runs, "dense.toml");
  const Job job(runs.world(), deck, nullptr, true, false);
  EXPECT_EQ(job.steps_per_epoch(), 5);
  EXPECT_EQ(job.parts_of(data::SplitKind::validation), 0);
  EXPECT_EQ(job.parts_of(data::SplitKind::test), 1);
  const Deck fine = deck_of(runs, "dense.toml", {{"train.unit_size", "1"}, {"train.batch_size", "1"}});
  const Job parts(runs.world(), fine, nullptr, true, false);
  EXPECT_EQ(parts.steps_per_epoch(), train_rows);
  EXPECT_EQ(parts.sizes.evaluation_round, 32);
  EXPECT_EQ(parts.parts_of(data::SplitKind::test), 2);  // 32 + 18
}

TEST(Job, KeepsMomentsForTrainingOnly) {
  const SmallRuns runs;
  const Deck deck = deck_of(runs, "dense.toml");
  Job training(runs.world(), deck, nullptr, true, false),
      evaluating(runs.world(), deck, nullptr, false, true);
  EXPECT_FALSE(training.node.moment(0, 0).empty());
  EXPECT_TRUE(evaluating.node.moment(0, 0).empty());
  EXPECT_FALSE(training.arithmetic.empty());
  EXPECT_TRUE(evaluating.sizes.training.empty());
}

TEST(Job, ConfusionWhereClassesAreCounted) {
  const SmallRuns runs;
  const Deck deck = deck_of(runs, "dense.toml"), regression = deck_of(runs, "regression.toml");
  EXPECT_EQ(Job(runs.world(), deck, nullptr, false, true).confusion_classes, 4);
  EXPECT_EQ(Job(runs.world(), deck, nullptr, true, false).confusion_classes, 0);
  EXPECT_EQ(Job(runs.world(), regression, nullptr, false, true).confusion_classes, 0);
}

TEST(Job, WarnsOfFewerUnitsThanThreads) {
  const SmallRuns runs;
  const auto warning_with = [&](const char* unit_size) {
    const Deck deck = deck_of(runs, "dense.toml", {{"train.unit_size", unit_size}, {"train.threads", "2"}});
    testing::internal::CaptureStderr();
    const Job job(runs.world(), deck, nullptr, true, false);
    return testing::internal::GetCapturedStderr();
  };
  const std::string few = warning_with("34"), many = warning_with("1");
  if (runs.world().rank() != 0) return;
  EXPECT_NE(few.find("a step has 1 units"), std::string::npos) << few;
  EXPECT_EQ(many.find("a step has"), std::string::npos) << many;
}

TEST(Job, KnownStatisticsStandInForThoseOfTheData) {
  const SmallRuns runs;
  const Deck deck = deck_of(runs, "dense.toml");
  const Job computed(runs.world(), deck, nullptr, true, false);
  data::Statistics known = computed.store.statistics();
  ASSERT_FALSE(known.empty());
  known.mean[0] += 1;
  const Job given(runs.world(), deck, &known, true, false);
  EXPECT_EQ(given.store.statistics(), known);
}

}  // namespace
}  // namespace lepton::train
