// SPDX-License-Identifier: Apache-2.0
// Trained models: a checkpoint and a bare model hold the same parameters and give the same statistics; what
// does not fit is refused.
#include "train/trained_model.h"

#include <gtest/gtest.h>

#include "errors.h"
#include "small_runs.h"
#include "train/loaded.h"
#include "train/setup.h"

namespace lepton::train {
namespace {

TEST(TrainedModel, IsTheSameFromACheckpointAndFromABareModel) {
  const SmallRuns runs;
  const Options options = runs.options("dense.toml", "run");
  runs.train(options);
  const Loaded loaded(runs, "dense.toml");
  const model::Graph graph = graph_for(runs.world(), loaded.deck, loaded.dataset);
  const auto load = [&](const std::string& path) {
    return load_model(runs.world(), loaded.deck, loaded.deck.data, graph, loaded.dataset, path, "test");
  };
  const TrainedModel saved = load(runs.file("run")), bare = load(runs.file("run") + "/model.safetensors");
  EXPECT_EQ(saved.parameters, bare.parameters);
  EXPECT_TRUE(saved.statistics == bare.statistics);
  EXPECT_FALSE(saved.statistics.empty());
  EXPECT_NE(saved.path, runs.file("run")) << "the checkpoint's own";
  expect_error_of([&] { load(runs.file("nowhere")); }, Exit::no_input, {"nowhere"});
}

TEST(TrainedModel, LiesInTheDecksRunUnlessNamed) {
  const SmallRuns runs;
  Options options = runs.options("dense.toml", "run");
  const Deck deck = load_deck(runs.world(), options);
  EXPECT_EQ(model_path(deck, options), runs.file("run"));
  options.checkpoint = "elsewhere";
  EXPECT_EQ(model_path(deck, options), "elsewhere");
}

TEST(TrainedModel, AnotherNetworkIsRefused) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  const Loaded loaded(runs, "wide.toml");
  const model::Graph graph = graph_for(runs.world(), loaded.deck, loaded.dataset);
  expect_error_of(
      [&] {
        load_model(runs.world(), loaded.deck, loaded.deck.data, graph, loaded.dataset, runs.file("run"),
                   "test");
      },
      Exit::deck, {"model.layers"});
}

}  // namespace
}  // namespace lepton::train
