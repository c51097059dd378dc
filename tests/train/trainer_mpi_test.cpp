// SPDX-License-Identifier: Apache-2.0
// The promise in small, in one process per rank: whole trainings give the same ledger however the ranks form
// nodes, with one or two threads, under both policies. (For other numbers of ranks: tests/e2e.) And that they
// learn.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "report/ledger.h"
#include "small_runs.h"

namespace lepton::train {
namespace {

/// Trains on every cut into nodes; all ledgers must be the first one.
void expect_same_bits(const SmallRuns& runs, const std::string& deck, std::vector<Override> more = {}) {
  std::string first;
  int number = 0;
  for (const int ranks_per_node : {1000, 1, 2, 3})
    for (const char* threads : {"1", "2"}) {
      const std::string policy = number % 3 == 0   ? "\"steal\""
                                 : number % 3 == 1 ? "\"static\""
                                                   : "\"proportional\"";
      std::vector<Override> overrides = more;
      overrides.push_back({"train.threads", threads});
      overrides.push_back({"balance.policy", policy});
      const std::string run = deck + std::to_string(number++);
      ASSERT_EQ(runs.train(runs.options(deck, run, overrides), ranks_per_node), Exit::done);
      if (runs.world().rank() != 0) continue;
      const std::string ledger = runs.ledger(run);
      if (first.empty()) first = ledger;
      EXPECT_EQ(ledger, first) << ranks_per_node << " ranks per node, " << threads << " threads, " << policy;
    }
}

TEST(Trainer, DenseAdamGivesTheSameBits) {
  const SmallRuns runs;
  expect_same_bits(runs, "dense.toml");
}

TEST(Trainer, SeveralLossesGiveTheSameBits) {
  const SmallRuns runs;
  expect_same_bits(runs, "several.toml");
}

TEST(Trainer, SeveralUnitsInHandGiveTheSameBits) {
  const SmallRuns runs;
  expect_same_bits(runs, "wide.toml", {{"train.epochs", "1"}, {"train.unit_size", "5"}});
}

TEST(Trainer, AnAccumulatorPerMemoryDomainGivesTheSameBits) {
  const SmallRuns runs;
  for (const char* deck : {"wide.toml", "regression.toml"}) {
    const std::string one = std::string(deck) + "one", three = std::string(deck) + "three";
    runs.train(runs.options(deck, one, {{"train.epochs", "1"}}));
    setenv("LEPTON_MEMORY_DOMAINS", "3", 1);
    runs.train(runs.options(deck, three, {{"train.epochs", "1"}, {"train.threads", "2"}}), 2);
    unsetenv("LEPTON_MEMORY_DOMAINS");
    if (runs.world().rank() == 0) {
      EXPECT_EQ(runs.ledger(three), runs.ledger(one));
    }
  }
}

TEST(Trainer, ConvolutionBatchNormDropoutMomentumGiveTheSameBits) {
  const SmallRuns runs;
  expect_same_bits(runs, "conv.toml", {{"train.epochs", "2"}});
}

TEST(Trainer, ABranchedNetworkWithSharedAndFrozenWeightsGivesTheSameBits) {
  const SmallRuns runs;
  expect_same_bits(runs, "graph.toml", {{"train.epochs", "2"}});
  const Override debug = {"train.device", "\"debug\""};
  runs.train(runs.options("graph.toml", "device", {{"train.epochs", "2"}, debug}), 1);
  if (runs.world().rank() == 0) {
    EXPECT_EQ(runs.ledger("device"), runs.ledger("graph.toml0"));
  }
}

TEST(Trainer, RegressionWithClippingByNormGivesTheSameBits) {
  const SmallRuns runs;
  expect_same_bits(runs, "regression.toml", {{"train.epochs", "3"}});
}

TEST(Trainer, SlowUnitsOnOneRankChangeNothing) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "even", {{"train.epochs", "1"}}), 1);
  setenv("LEPTON_FAULT", "point=unit,action=delay:200us;rank=0,point=unit,action=delay:5ms", 1);
  runs.train(runs.options("dense.toml", "uneven", {{"train.epochs", "1"}}), 1);
  unsetenv("LEPTON_FAULT");
  if (runs.world().rank() != 0) return;
  EXPECT_EQ(runs.ledger("uneven"), runs.ledger("even"));
}

/// Options that change the mathematics must change the bits, or the test above proves little.
TEST(Trainer, MathematicalKeysChangeTheBits) {
  const SmallRuns runs;
  const auto parameters_with = [&](const std::string& run, std::vector<Override> overrides) {
    overrides.push_back({"train.epochs", "1"});
    runs.train(runs.options("conv.toml", run, overrides));
    int64_t broken_at = 0;
    const std::vector<report::LedgerLine> lines =
        runs.world().rank() == 0 ? report::read_ledger(runs.file(run) + "/ledger.txt", broken_at)
                                 : std::vector<report::LedgerLine>();
    return lines.empty() ? 0 : lines.back().parameters;
  };
  const uint64_t plain = parameters_with("plain", {});
  const std::vector<Override> changes = {{"run.seed", "4"},
                                         {"train.unit_size", "17"},
                                         {"train.batch_size", "33"},
                                         {"data.shuffle", "\"none\""},
                                         {"data.normalize", "\"unit\""},
                                         {"optimizer.momentum", "0.8"},
                                         {"model.label_smoothing", "0.1"},
                                         {"model.class_weights", "[1, 0.5, 2, 1]"},
                                         {"data.ignored_class", "2"},
                                         {"model.loss", "softmax_focal"},
                                         {"model.loss", "multiclass_hinge"},
                                         {"model.l2", "0.01"},
                                         {"optimizer.clip_norm", "0.01"},
                                         {"optimizer.clip_value", "0.001"},
                                         {"schedule.warmup_steps", "2"}};
  for (size_t i = 0; i < changes.size(); ++i) {
    const uint64_t changed = parameters_with("changed" + std::to_string(i), {changes[i]});
    if (runs.world().rank() != 0) continue;
    EXPECT_NE(changed, plain) << changes[i].key;
  }
}

TEST(Trainer, NetworksLearn) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "dense", {{"train.epochs", "8"}}));
  runs.train(runs.options("conv.toml", "conv", {{"train.epochs", "8"}}));
  runs.train(runs.options("regression.toml", "regression", {{"train.epochs", "30"}}));
  if (runs.world().rank() != 0) return;
  const auto last = [&](const std::string& run) { return runs.metrics(run, "test").back(); };
  const auto value = [](const std::string& line, const std::string& name) {
    const size_t at = line.find("\"" + name + "\":");
    return at == std::string::npos ? NAN : std::stod(line.substr(at + name.size() + 3));
  };
  EXPECT_GT(value(last("dense"), "accuracy"), 0.9) << last("dense");
  EXPECT_GT(value(last("conv"), "accuracy"), 0.9) << last("conv");
  EXPECT_GT(value(last("regression"), "r2"), 0.9) << last("regression");
}

TEST(Trainer, TheLedgerTellsOfEveryStep) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  if (runs.world().rank() != 0) return;
  int64_t broken_at = -1;
  const std::vector<report::LedgerLine> lines = report::read_ledger(runs.file("run/ledger.txt"), broken_at);
  EXPECT_EQ(broken_at, 0);
  ASSERT_EQ(lines.size(), 15u);  // 3 epochs of 5 steps
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].step, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(lines[i].epoch, static_cast<int64_t>(i / 5) + 1);
    EXPECT_EQ(lines[i].samples, i % 5 == 4 ? 14 : 34);  // 150 = 4 * 34 + 14
    EXPECT_EQ(lines[i].weight, static_cast<double>(lines[i].samples));
    EXPECT_FALSE(lines[i].skipped);
    EXPECT_TRUE(std::isfinite(lines[i].loss));
  }
  EXPECT_LE(lines[0].attempts, 2);  // the first scales are a guess; see conductor_mpi_test
  EXPECT_NEAR(lines[0].loss, std::log(4.0), 1.0);
}

}  // namespace
}  // namespace lepton::train
