// SPDX-License-Identifier: Apache-2.0
// What the leaders decide: redone attempts, non-finite steps, early stopping, stops and what a restart then
// does first. As small whole trainings, because only they hold all that a conductor works with.
#include "train/conductor.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "report/ledger.h"
#include "small_runs.h"

namespace lepton::train {
namespace {

using Lines = std::vector<report::LedgerLine>;

Lines ledger_of(const SmallRuns& runs, const std::string& run) {
  int64_t broken_at = -1;
  const Lines lines = report::read_ledger(runs.file(run) + "/ledger.txt", broken_at);
  EXPECT_EQ(broken_at, 0);
  return lines;
}

double field(const std::string& line, const std::string& name) {
  return nlohmann::json::parse(line)[name].get<double>();
}

const std::vector<Override> with_validation = {
    {"data.validation", "{ inputs = \"validation/images\", targets = \"validation/labels\" }"}};

std::vector<Override> joined(std::vector<Override> a, const std::vector<Override>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Conductor, GradientsFarFromTheFirstScaleAreRedoneOnce) {
  const SmallRuns runs;
  // Raw pixels make gradients of some thousands, whose first attempt overflows the guess.
  const std::vector<Override> large = {{"data.normalize", "\"none\""},
                                       {"optimizer", "{ type = \"sgd\", learning_rate = 1e-6 }"}};
  std::string first;
  for (const int ranks_per_node : {1000, 1}) {
    const std::string run = "large" + std::to_string(ranks_per_node);
    runs.train(runs.options("dense.toml", run, large), ranks_per_node);
    if (runs.world().rank() != 0) continue;
    const Lines lines = ledger_of(runs, run);
    ASSERT_EQ(lines.size(), 15u);
    EXPECT_EQ(lines[0].attempts, 2);
    for (size_t i = 2; i < lines.size(); ++i) EXPECT_EQ(lines[i].attempts, 1) << "step " << i + 1;
    if (first.empty()) first = runs.ledger(run);
    EXPECT_EQ(runs.ledger(run), first);
  }
}

TEST(Conductor, ARunThatDivergesEndsWith76NamingStepUnitAndLayer) {
  const SmallRuns runs;
  for (const int ranks_per_node : {1000, 1}) {
    std::string message;
    const Options options =
        runs.options("dense.toml", "diverges" + std::to_string(ranks_per_node),
                     {{"optimizer.type", "\"sgd\""}, {"optimizer.learning_rate", "1e38"}});
    EXPECT_EQ(runs.code_of(options, &message, ranks_per_node), static_cast<int>(Exit::diverged));
    EXPECT_NE(message.find("step 2, unit 0"), std::string::npos) << message;
    EXPECT_NE(message.find("dense_"), std::string::npos) << message;
  }
}

TEST(Conductor, OrSkipsTheStepsByKey) {
  const SmallRuns runs;
  std::string first;
  for (const int ranks_per_node : {1000, 1}) {
    const std::string run = "skips" + std::to_string(ranks_per_node);
    const Options options =
        runs.options("dense.toml", run,
                     {{"optimizer.type", "\"sgd\""},
                      {"optimizer.learning_rate", "1e38"},
                      {"train.on_non_finite", "\"skip\""},
                      {"evaluation.every", "\"end\""},
                      {"data.test", "{ inputs = \"train/images\", targets = \"train/labels\" }"},
                      {"train.epochs", "1"}});
    const int code = runs.code_of(options, nullptr, ranks_per_node);
    EXPECT_TRUE(code == 0 || code == static_cast<int>(Exit::diverged));  // the evaluation may still refuse
    if (runs.world().rank() != 0) continue;
    const Lines lines = ledger_of(runs, run);
    ASSERT_EQ(lines.size(), 5u);
    EXPECT_FALSE(lines[0].skipped);
    for (size_t i = 1; i < lines.size(); ++i) {
      EXPECT_TRUE(lines[i].skipped);
      EXPECT_EQ(lines[i].parameters, lines[0].parameters);  // nothing changed
    }
    if (first.empty()) first = runs.ledger(run);
    EXPECT_EQ(runs.ledger(run), first);
  }
}

TEST(Conductor, MaxStepsAndEpochsSayWhereARunEnds) {
  const SmallRuns runs;
  Options options = runs.options("dense.toml", "run");
  options.max_steps = 7;
  EXPECT_EQ(runs.train(options), Exit::done);
  if (runs.world().rank() == 0) {
    EXPECT_EQ(ledger_of(runs, "run").size(), 7u);
  }
  options.max_steps = 0;
  EXPECT_EQ(runs.train(options), Exit::done);  // and it goes on from there
  runs.train(runs.options("dense.toml", "whole"));
  if (runs.world().rank() == 0) {
    EXPECT_EQ(runs.ledger("run"), runs.ledger("whole"));
  }
}

TEST(Conductor, EvaluatesAfterEachEpochAndTestsAtTheEnd) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run", with_validation));
  if (runs.world().rank() != 0) return;
  const std::vector<std::string> validations = runs.metrics("run", "validation"),
                                 tests = runs.metrics("run", "test");
  ASSERT_EQ(validations.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(field(validations[i], "step"), 5.0 * static_cast<double>(i + 1));
  ASSERT_EQ(tests.size(), 1u);
  EXPECT_EQ(field(tests[0], "step"), 15);
  EXPECT_TRUE(std::filesystem::exists(runs.file("run/best.safetensors")));
  EXPECT_TRUE(std::filesystem::exists(runs.file("run/model.safetensors")));
}

/// A loss that cannot improve by so much is stale from the second evaluation on.
const std::vector<Override> impatient = {{"evaluation.metric", "\"loss\""},
                                         {"evaluation.patience", "2"},
                                         {"evaluation.min_improvement", "1000"},
                                         {"evaluation.every", "\"2 steps\""}};

TEST(Conductor, StopsEarlyAfterTheEvaluationThatUsesUpThePatience) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run", joined(with_validation, impatient)));
  if (runs.world().rank() == 0) {
    EXPECT_EQ(ledger_of(runs, "run").size(), 6u);  // best at 2, stale at 4 and 6
    ASSERT_EQ(runs.metrics("run", "test").size(), 1u);
    EXPECT_EQ(field(runs.metrics("run", "test")[0], "step"), 6);
  }
  EXPECT_EQ(runs.train(runs.options("dense.toml", "run", joined(with_validation, impatient))), Exit::done);
  if (runs.world().rank() == 0) {
    EXPECT_EQ(ledger_of(runs, "run").size(), 6u);  // it stays stopped
  }
}

TEST(Conductor, StopsEarlyByTheTestSplitWhereThatIsTheMonitor) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run", impatient));
  if (runs.world().rank() == 0) {
    EXPECT_EQ(ledger_of(runs, "run").size(), 6u);
  }
}

TEST(Conductor, AStopSavesAndTheRestartGivesTheSameRun) {
  const SmallRuns runs;
  runs.train(runs.options("conv.toml", "whole", with_validation));
  const Options options = runs.options("conv.toml", "stopped", with_validation);
  int starts = 0;
  for (Exit exit = Exit::again; exit == Exit::again && starts < 100; ++starts) {
    request_stop();  // acted on at the end of the first round of this start
    if (starts >= 25) clear_stop();
    exit = runs.train(options, starts % 3 + 1);
  }
  clear_stop();
  if (runs.world().rank() != 0) return;
  EXPECT_EQ(runs.ledger("stopped"), runs.ledger("whole"));
  const auto evaluations = [&](const std::string& run) {
    std::vector<std::string> lines = runs.metrics(run, "validation");
    for (const std::string& line : runs.metrics(run, "test")) lines.push_back(line);
    return lines;
  };
  EXPECT_EQ(evaluations("stopped"), evaluations("whole"));  // none lost, none twice, the same figures
}

}  // namespace
}  // namespace lepton::train
