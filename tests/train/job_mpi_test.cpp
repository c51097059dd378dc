// SPDX-License-Identifier: Apache-2.0
// What a job puts together: threads of all ranks numbered through each node, steps and rounds, memory for
// moments or none, the confusion matrix where it makes sense, the warning where units are few, and the order
// in which a job is refused: deck, network, rows, memory.
#include "train/job.h"

#include <gtest/gtest.h>

#include <cmath>

#include "comm/shared_memory.h"
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
    EXPECT_EQ(job.share.threads, 2);
    EXPECT_EQ(job.share.node_threads, 2 * world.node_size());
    EXPECT_EQ(job.share.node_first, 2 * world.node_rank());
    ASSERT_EQ(job.threads_per_node.size(), static_cast<size_t>(world.nodes()));
    int total = 0;
    for (const int threads : job.threads_per_node) total += threads;
    EXPECT_EQ(total, 2 * world.size());
    world.barrier();
  }
}

// As ranks do that compute on a device.
TEST(Job, RanksThatStandAloneShareTheRowsOfTheirMachine) {
  const SmallRuns runs;
  const Deck deck = deck_of(runs, "dense.toml");
  const comm::World world(60, 1000, true);
  const Job job(world, deck, nullptr, true, false);
  EXPECT_EQ(world.nodes(), world.size());
  EXPECT_EQ(job.store.resident_bytes(), (train_rows + test_rows) * job.store.row_bytes(0));
  EXPECT_EQ(job.share.on_host.nodes, world.size());
  EXPECT_EQ(job.share.on_host.machines, 1);
  EXPECT_EQ(job.needs.staging, 0);
  world.barrier();
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
  EXPECT_FALSE(training.classes.arithmetic.empty());
  EXPECT_TRUE(evaluating.sizes.training.empty());
}

TEST(Job, ConfusionWhereClassesAreCounted) {
  const SmallRuns runs;
  const Deck deck = deck_of(runs, "dense.toml"), regression = deck_of(runs, "regression.toml");
  EXPECT_EQ(Job(runs.world(), deck, nullptr, false, true).tally.classes, 4);
  EXPECT_EQ(Job(runs.world(), deck, nullptr, true, false).tally.classes, 0);
  EXPECT_EQ(Job(runs.world(), regression, nullptr, false, true).tally.classes, 0);
}

TEST(Job, WarnsOfFewerUnitsThanThreads) {
  const SmallRuns runs;
  const auto warning_with = [&](const char* unit_size) {
    const Deck deck = deck_of(runs, "dense.toml", {{"train.unit_size", unit_size}, {"train.threads", "2"}});
    ::testing::internal::CaptureStderr();
    const Job job(runs.world(), deck, nullptr, true, false);
    return ::testing::internal::GetCapturedStderr();
  };
  const std::string few = warning_with("34"), many = warning_with("1");
  if (runs.world().rank() != 0) return;
  EXPECT_NE(few.find("a step has 1 units"), std::string::npos) << few;
  EXPECT_EQ(many.find("a step has"), std::string::npos) << many;
}

/// The agreed error with which a job is refused.
Error refusal(const comm::World& world, const Deck& deck, bool training = true) {
  try {
    const Job job(world, deck, nullptr, training, false);
  } catch (const Error& error) {
    EXPECT_TRUE(error.agreed()) << error.what();
    return error;
  }
  ADD_FAILURE() << "nothing was refused";
  return {Exit::done, "", "", ""};
}

TEST(Job, MoreMemoryThanThereIsIsRefusedWithNumbersBeforeItIsTaken) {
  const SmallRuns runs;
  // Parameters of a third of the memory: they alone are allowed, two slots and a sum of them are not.
  std::vector<int64_t> available = {static_cast<int64_t>(comm::available_memory_bytes("/dev/shm"))};
  runs.world().all_max(available);
  const auto units = static_cast<int64_t>(std::sqrt(static_cast<double>(available[0]) / 12));
  const std::string wide = "{ type = \"dense\", units = " + std::to_string(units) + " }, ";
  const Deck deck = deck_of(
      runs, "dense.toml",
      {{"model.layers", "[{ type = \"flatten\" }, " + wide + wide + "{ type = \"dense\", units = 4 }]"}});
  for (const int ranks_per_node : {1000, 1}) {
    const comm::World world(60, ranks_per_node);
    for (const bool training : {true, false}) {
      const Error error = refusal(world, deck, training);
      EXPECT_EQ(error.code(), Exit::memory);
      for (const char* part : {"this machine needs", "are available; the largest parts of a node: state"})
        EXPECT_NE(error.problem().find(part), std::string::npos) << part << "\n" << error.what();
      EXPECT_NE(error.hint().find("unit_size"), std::string::npos) << error.what();
      const bool several =
          error.problem().find(std::to_string(world.nodes()) + " nodes on it") != std::string::npos;
      EXPECT_EQ(several, world.nodes() > 1) << error.what();
    }
    world.barrier();
  }
}

TEST(Job, NeedsAreThoseOfWhatIsStillToBeTaken) {
  const SmallRuns runs;
  const Deck deck = deck_of(runs, "dense.toml");
  const Job training(runs.world(), deck, nullptr, true, false),
      evaluating(runs.world(), deck, nullptr, false, false);
  EXPECT_EQ(training.needs.data, 0);
  EXPECT_GT(training.needs.checkpoint, 0);
  EXPECT_EQ(evaluating.needs.checkpoint, 0);
  EXPECT_GT(training.needs.state, evaluating.needs.state);
  EXPECT_EQ(training.needs.threads, training.share.node_threads);
}

TEST(Job, ANetworkThatDoesNotFitIsRefusedBeforeRowsAreRead) {
  const SmallRuns runs;
  const Override three = {"data.classes", "3"};  // a label 3 would be found among the rows
  const Deck bad_rows =
      deck_of(runs, "dense.toml",
              {three, {"model.layers", "[{ type = \"flatten\" }, { type = \"dense\", units = 3 }]"}});
  EXPECT_EQ(refusal(runs.world(), bad_rows).code(), Exit::data);
  for (const char* layers :
       {"[{ type = \"dense\", units = 3 }]", "[{ type = \"flatten\" }, { type = \"dense\", units = 5 }]"}) {
    const Error error = refusal(runs.world(), deck_of(runs, "dense.toml", {three, {"model.layers", layers}}));
    EXPECT_EQ(error.code(), Exit::deck) << error.what();
    EXPECT_NE(error.problem().find("dense_1"), std::string::npos) << error.what();
  }
}

TEST(Job, AsManyOutputsAsTheLabelsTell) {
  const SmallRuns runs;
  const Error error = refusal(
      runs.world(), deck_of(runs, "dense.toml",
                            {{"model.layers", "[{ type = \"flatten\" }, { type = \"dense\", units = 5 }]"}}));
  EXPECT_EQ(error.code(), Exit::deck);
  EXPECT_NE(error.problem().find("gives [5], but the targets ask for [4]"), std::string::npos)
      << error.what();
}

TEST(Job, AnInstructionSetThatIsNotThereNamesItsKey) {
  const SmallRuns runs;
  Deck deck = deck_of(runs, "dense.toml");
  deck.run.isa = "avx1024";  // stands in for one that this machine lacks
  const Error error = refusal(runs.world(), deck);
  EXPECT_EQ(error.code(), Exit::deck);
  EXPECT_EQ(error.where(), runs.file("dense.toml") + ": run.isa");
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
