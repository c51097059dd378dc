// SPDX-License-Identifier: Apache-2.0
// From deck to graph and unit sizes: the same on all ranks, and errors agreed on by all.
#include "train/setup.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "data/batch.h"
#include "small_runs.h"
#include "train/loaded.h"

namespace lepton::train {
namespace {

/// Runs `work`, which must throw with this code on every rank; returns the message.
template <class Work>
std::string agreed_error_of(Exit code, Work&& work) {
  try {
    work();
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_TRUE(error.agreed());
    return error.what();
  }
  return "";
}

TEST(LoadDeck, IsTheSameOnAllRanksWithOverrides) {
  const SmallRuns runs;
  Options options = runs.options("dense.toml", "run", {{"train.batch_size", "99"}});
  options.max_steps = 5;
  const Deck deck = load_deck(runs.world(), options);
  EXPECT_EQ(deck.train.batch_size, 99);
  EXPECT_EQ(deck.train.max_steps, 5);
  EXPECT_EQ(deck.run.directory, runs.file("run"));
  EXPECT_EQ(deck.run.seed, 3u);
}

TEST(LoadDeck, ErrorsAreAgreed) {
  const SmallRuns runs;
  agreed_error_of(Exit::no_input, [&] { load_deck(runs.world(), runs.options("nowhere.toml", "run")); });
  const std::string message = agreed_error_of(Exit::deck, [&] {
    load_deck(runs.world(), runs.options("dense.toml", "run", {{"train.epochs", "0"}}));
  });
  EXPECT_NE(message.find("train.epochs"), std::string::npos) << message;
  const std::string layer = agreed_error_of(Exit::deck, [&] {
    load_deck(runs.world(), runs.options("dense.toml", "run", {{"model.layers", "[{ type = \"dens\" }]"}}));
  });
  EXPECT_NE(layer.find("Did you mean \"dense\"?"), std::string::npos) << layer;
}

// 2,048 contributions fill an element's 62 bits; where two nodes share a tensor each unit gives two.
TEST(GradientBits, CountUnitsAndTheNodesThatShareATensor) {
  const SmallRuns runs;
  const auto bits = [&](const char* deck_name, const char* batch, const char* unit) {
    const Loaded loaded(runs, deck_name, {{"train.batch_size", batch}, {"train.unit_size", unit}});
    return gradient_bits(loaded.deck, graph_for(runs.world(), loaded.deck, loaded.dataset));
  };
  EXPECT_EQ(bits("dense.toml", "2048", "1"), 51);
  EXPECT_EQ(bits("dense.toml", "2049", "1"), 50);
  EXPECT_EQ(bits("graph.toml", "1024", "1"), 51);
  EXPECT_EQ(bits("graph.toml", "2047", "2"), 51);
  EXPECT_EQ(bits("graph.toml", "1025", "1"), 50);
}

TEST(GraphFor, TakesInputShapeAndOutputsFromTheData) {
  const SmallRuns runs;
  const Loaded conv(runs, "conv.toml");
  const model::Graph graph = graph_for(runs.world(), conv.deck, conv.dataset);
  EXPECT_EQ(graph.input_shape(), (Shape{1, 6, 6}));
  EXPECT_EQ(graph.outputs(), 4);
  const Loaded regression(runs, "regression.toml");
  EXPECT_EQ(graph_for(runs.world(), regression.deck, regression.dataset).outputs(), 1);
}

TEST(GraphFor, NeedsNoRowsButForTheNumberOfClasses) {
  const SmallRuns runs;
  const Deck deck = load_deck(
      runs.world(),
      runs.options("dense.toml", "run",
                   {{"model.layers", "[{ type = \"flatten\" }, { type = \"dense\", units = 5 }]"}}));
  data::Dataset dataset(runs.world(), deck.data);
  const model::Graph graph = graph_for(runs.world(), deck, dataset);
  EXPECT_EQ(graph.outputs(), 5);
  EXPECT_NO_THROW(require_outputs(runs.world(), deck, dataset, graph)) << "any number while unknown";
  const data::SampleStore store(runs.world(), dataset, "/dev/shm", nullptr);
  const std::string message =
      agreed_error_of(Exit::deck, [&] { require_outputs(runs.world(), deck, dataset, graph); });
  EXPECT_NE(message.find("gives [5], but the targets ask for [4]"), std::string::npos) << message;
}

TEST(GraphFor, ALastLayerOfTheWrongWidthIsADeckErrorNamingIt) {
  const SmallRuns runs;
  const Loaded five(runs, "dense.toml",
                    {{"model.layers", "[{ type = \"flatten\" }, { type = \"dense\", units = 5 }]"}});
  const std::string message =
      agreed_error_of(Exit::deck, [&] { graph_for(runs.world(), five.deck, five.dataset); });
  EXPECT_NE(message.find("dense_1"), std::string::npos) << message;
  EXPECT_NE(message.find("5"), std::string::npos) << message;
  EXPECT_NE(message.find("4"), std::string::npos) << message;
}

TEST(RequireLossFits, RefusesWhatTheNetworkAndTheTargetsAreNot) {
  const SmallRuns runs;
  const auto refused = [&](std::vector<Override> overrides, const std::string& part,
                           const char* deck = "dense.toml") {
    const Loaded loaded(runs, deck, std::move(overrides));
    const std::string message = agreed_error_of(Exit::deck, [&] {
      require_loss_fits(runs.world(), loaded.deck, loaded.dataset,
                        graph_for(runs.world(), loaded.deck, loaded.dataset));
    });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  refused({{"model.class_weights", "[1, 2, 3]"}}, "3 weights, but the network gives scores of 4 classes");
  refused({{"model.loss", "softmax_dice"}}, "needs targets with a class id for each pixel");
  const Override labels = {"data.train.targets", "\"regression/above\""};
  refused({{"model.loss", "binary_dice"}, labels}, "needs targets with a value from 0 to 1 for each pixel",
          "regression.toml");
  for (const char* metric : {"precision", "recall", "f1"})
    refused({{"evaluation.metric", metric}}, std::string("Take macro_") + metric);
  refused({{"evaluation.metrics", "[\"auc\"]"}}, "there is no one curve");
  const auto fits = [&](std::vector<Override> overrides, const char* deck = "dense.toml") {
    const Loaded loaded(runs, deck, std::move(overrides));
    EXPECT_NO_THROW(require_loss_fits(runs.world(), loaded.deck, loaded.dataset,
                                      graph_for(runs.world(), loaded.deck, loaded.dataset)));
  };
  fits({{"model.class_weights", "[1, 2, 3, 4]"}, {"evaluation.metrics", "[\"macro_f1\", \"mean_iou\"]"}});
  fits({{"model.loss", "binary_focal"}, labels, {"evaluation.metrics", "[\"f1\", \"auc\", \"macro_f1\"]"}},
       "regression.toml");
}

TEST(UnitSizes, AreAllThatTrainingAndEvaluationWillAsk) {
  const SmallRuns runs;
  for (const char* unit : {"1", "5", "12", "34"}) {
    const Loaded loaded(runs, "dense.toml", {{"train.unit_size", unit}});
    const UnitSizes sizes = unit_sizes(loaded.deck, loaded.dataset);
    const int64_t unit_size = loaded.deck.train.unit_size;
    const auto expect_known = [&](const std::vector<int64_t>& known, int64_t batch) {
      const std::vector<int64_t> begins = data::cut_units(batch, unit_size);
      for (size_t u = 0; u + 1 < begins.size(); ++u)
        EXPECT_EQ(std::count(known.begin(), known.end(), begins[u + 1] - begins[u]), 1)
            << unit << " of " << batch;
    };
    expect_known(sizes.training, 34);
    expect_known(sizes.training, 14);  // the short last batch
    for (const int64_t rows : {train_rows, test_rows})
      for (int64_t begin = 0; begin < rows; begin += sizes.evaluation_round)
        expect_known(sizes.inference, std::min(sizes.evaluation_round, rows - begin));
    EXPECT_GE(sizes.max_samples, std::max<int64_t>(34, std::min(sizes.evaluation_round, train_rows)));
    EXPECT_GE(sizes.max_units * unit_size, sizes.max_samples);
  }
}

TEST(UnitSizes, ABatchLargerThanTheSplitIsTheSplit) {
  const SmallRuns runs;
  const Loaded loaded(runs, "dense.toml", {{"train.batch_size", "1000"}, {"train.unit_size", "100"}});
  const UnitSizes sizes = unit_sizes(loaded.deck, loaded.dataset);
  EXPECT_EQ(sizes.training, (std::vector<int64_t>{75}));  // 150 samples in two units
}

}  // namespace
}  // namespace lepton::train
