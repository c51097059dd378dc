// SPDX-License-Identifier: Apache-2.0
// Where a run's state comes from, as small whole trainings: fine-tuning from a file, what stays frozen, and
// which other files a start before the first checkpoint and one behind it accept.
#include "train/begin_state.h"

#include <gtest/gtest.h>

#include "base/hash.h"
#include "report/ledger.h"
#include "small_runs.h"
#include "storage/safetensors.h"

namespace lepton::train {
namespace {

const char* const frozen_layers =
    "[{ type = \"flatten\" }, { type = \"dense\", units = 16, activation = \"relu\", frozen = true }, "
    "{ type = \"dense\", units = 4, name = \"head\" }]";

using Tensors = std::map<std::string, storage::SafetensorsFile::Entry>;

Tensors model_of(const SmallRuns& runs, const std::string& run) {
  return storage::read_safetensors(runs.file(run) + "/model.safetensors").tensors;
}

/// Fine-tuning the dense network of run `base`, with a new head.
Options tuning(const SmallRuns& runs, const std::string& run, std::vector<Override> more = {}) {
  std::vector<Override> overrides = {{"model.layers", frozen_layers},
                                     {"model.weights", "\"" + runs.file("base/model.safetensors") + "\""},
                                     {"model.weights_missing", "initialise"},
                                     {"model.weights_unexpected", "ignore"},
                                     {"optimizer.weight_decay", "0.1"}};
  overrides.insert(overrides.end(), more.begin(), more.end());
  return runs.options("dense.toml", run, overrides);
}

TEST(BeginState, AFineTunedRunKeepsWhatIsFrozenAndLearnsTheRest) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "base"));
  std::string first;
  for (const int ranks_per_node : {1000, 1, 2})
    for (const char* device : {"cpu", "debug"}) {
      const std::string run = "tuned" + std::to_string(ranks_per_node) + device;
      const Options options = tuning(runs, run, {{"train.device", device}, {"train.share_devices", "true"}});
      const bool own_nodes = device == std::string("debug");  // a rank with a device is a node
      EXPECT_EQ(runs.train(options, own_nodes ? 1 : ranks_per_node), Exit::done);
      if (runs.world().rank() != 0) continue;
      if (first.empty()) first = runs.ledger(run);
      EXPECT_EQ(runs.ledger(run), first) << run;
      const Tensors base = model_of(runs, "base"), tuned = model_of(runs, run);
      for (const char* name : {"dense_1.weight", "dense_1.bias"})
        EXPECT_EQ(tuned.at(name).values, base.at(name).values) << name;
      EXPECT_EQ(tuned.count("dense_2.weight"), 0U);
      EXPECT_NE(tuned.at("head.weight").values, base.at("dense_2.weight").values);
    }
}

TEST(BeginState, WeightsOfAllParametersAreTheStateThatARunBeginsWith) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "base"));
  const Options options = runs.options(
      "dense.toml", "again", {{"model.weights", "\"" + runs.file("base/model.safetensors") + "\""}});
  const Deck deck = load_deck(runs.world(), options);
  Job job(runs.world(), deck, nullptr, true, false);
  Beginning beginning;
  begin_state(job, beginning);
  const Tensors base = model_of(runs, "base");
  for (const ArenaTensor& tensor : job.graph.layout.tensors()) {
    const auto got =
        job.node.parameters(0).subspan(static_cast<size_t>(tensor.offset), static_cast<size_t>(tensor.count));
    EXPECT_TRUE(std::ranges::equal(got, base.at(tensor.name).values)) << tensor.name;
  }
  EXPECT_EQ(beginning.weights.path, runs.file("base/model.safetensors"));
  int64_t broken_at = 0;
  EXPECT_EQ(beginning.weights.parameters_hash,
            hex64(report::read_ledger(runs.file("base/ledger.txt"), broken_at).back().parameters));
  runs.world().barrier();
}

TEST(BeginState, AnotherFileMattersUntilThereIsAState) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "base"));
  Options options = tuning(runs, "run");
  options.max_steps = 5;
  EXPECT_EQ(runs.train(options), Exit::done);
  // From here on the file is not read.
  Options without = runs.options("dense.toml", "run",
                                 {{"model.layers", frozen_layers},
                                  {"optimizer.weight_decay", "0.1"},
                                  {"model.weights", "\"/nowhere\""}});
  without.max_steps = 7;
  EXPECT_EQ(runs.code_of(without), 0);
  runs.world().barrier();
  if (runs.world().rank() == 0) std::filesystem::remove_all(runs.file("run/checkpoints"));
  runs.world().barrier();
  // As if killed before its first checkpoint: now it must be what it was.
  EXPECT_EQ(runs.code_of(without), static_cast<int>(Exit::no_input));
  Options none =
      runs.options("dense.toml", "run", {{"model.layers", frozen_layers}, {"optimizer.weight_decay", "0.1"}});
  std::string message;
  EXPECT_EQ(runs.code_of(none, &message), static_cast<int>(Exit::data));
  EXPECT_NE(message.find("was begun with the weights of " + runs.file("base/model.safetensors")),
            std::string::npos)
      << message;
  EXPECT_EQ(
      runs.code_of(tuning(runs, "run", {{"model.weights_rename", "[\"dense_1.bias -> gone\"]"}}), &message),
      static_cast<int>(Exit::data));
  EXPECT_EQ(runs.code_of(tuning(runs, "run")), 0);
  EXPECT_EQ(runs.code_of(tuning(runs, "whole")), 0);
  if (runs.world().rank() == 0) {
    EXPECT_EQ(runs.ledger("run"), runs.ledger("whole"));
  }
}

TEST(BeginState, WhatDoesNotFitIsRefusedByAllRanks) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "base"));
  std::string message;
  EXPECT_EQ(runs.code_of(tuning(runs, "run", {{"model.weights_missing", "error"}}), &message),
            static_cast<int>(Exit::data));
  EXPECT_NE(message.find("head.weight, head.bias"), std::string::npos) << message;
  EXPECT_EQ(runs.code_of(runs.options("conv.toml", "run", {{"model.weights", "\"/nowhere\""}})),
            static_cast<int>(Exit::no_input));
}

}  // namespace
}  // namespace lepton::train
