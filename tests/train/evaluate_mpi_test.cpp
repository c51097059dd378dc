// SPDX-License-Identifier: Apache-2.0
// The command `evaluate`: the figures of training's own evaluation, the same bits from any nodes, for people
// and as JSON, of a run, a checkpoint or a bare model, with every loss; decks that are not the one that was
// trained; errors with the right code.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "small_runs.h"

namespace lepton::train {
namespace {

/// **Collective.** What rank 0 prints, and logs into `warnings`; "" elsewhere.
std::string printed(const SmallRuns& runs, const Options& options, int ranks_per_node = 1000,
                    std::string* warnings = nullptr) {
  const comm::World world(60, ranks_per_node);
  ::testing::internal::CaptureStdout();
  if (warnings) ::testing::internal::CaptureStderr();
  Exit exit = Exit::software;
  std::string what;
  try {
    exit = evaluate(world, options);
  } catch (const Error& error) {
    what = error.what();
  }
  std::fflush(stdout);
  const std::string text = ::testing::internal::GetCapturedStdout();
  if (warnings) *warnings = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(exit, Exit::done) << what;
  world.barrier();
  if (runs.world().rank() != 0) {
    EXPECT_EQ(text, "");
  }
  return text;
}

Options json_of(Options options) {
  options.json = true;
  return options;
}

TEST(Evaluate, GivesTheFiguresOfTrainingFromAnyNodes) {
  const SmallRuns runs;
  const Options options = runs.options("conv.toml", "run");
  runs.train(options);
  std::string first;
  for (const int ranks_per_node : {1000, 1, 2, 3}) {
    const std::string text = printed(runs, json_of(options), ranks_per_node);
    if (runs.world().rank() != 0) continue;
    if (first.empty()) first = text;
    EXPECT_EQ(text, first);
  }
  if (runs.world().rank() != 0) return;
  const nlohmann::json json = nlohmann::json::parse(first);
  const nlohmann::json during = nlohmann::json::parse(runs.metrics("run", "test").back());
  EXPECT_EQ(json["samples"], test_rows);
  EXPECT_EQ(json["step"], 15);
  for (const char* field : {"loss", "accuracy", "top5"}) EXPECT_EQ(json[field], during[field]) << field;
}

TEST(Evaluate, CountsEveryClassExactly) {
  const SmallRuns runs;
  const Options options = runs.options("dense.toml", "run");
  runs.train(options);
  const std::string text = printed(runs, json_of(options)), table = printed(runs, options);
  if (runs.world().rank() != 0) return;
  const nlohmann::json json = nlohmann::json::parse(text);
  ASSERT_EQ(json["confusion"].size(), 4u);
  ASSERT_EQ(json["classes"].size(), 4u);
  int64_t total = 0, right = 0;
  double f1 = 0;
  for (size_t t = 0; t < 4; ++t) {
    int64_t support = 0, predicted = 0;
    for (size_t p = 0; p < 4; ++p) {
      support += json["confusion"][t][p].get<int64_t>();
      predicted += json["confusion"][p][t].get<int64_t>();
    }
    const auto hits = json["confusion"][t][t].get<double>();
    EXPECT_EQ(json["classes"][t]["support"], support);
    EXPECT_DOUBLE_EQ(json["classes"][t]["recall"].get<double>(), hits / static_cast<double>(support));
    EXPECT_DOUBLE_EQ(json["classes"][t]["precision"].get<double>(), hits / static_cast<double>(predicted));
    f1 += json["classes"][t]["f1"].get<double>();
    total += support;
    right += static_cast<int64_t>(hits);
  }
  EXPECT_EQ(total, test_rows);
  EXPECT_DOUBLE_EQ(json["accuracy"].get<double>(), static_cast<double>(right) / test_rows);
  EXPECT_DOUBLE_EQ(json["macro_f1"].get<double>(), f1 / 4);
  for (const char* word : {"accuracy", "loss", "top5", "precision", "recall"})
    EXPECT_NE(table.find(word), std::string::npos) << word << " in\n" << table;
}

TEST(Evaluate, RegressionHasItsOwnFigures) {
  const SmallRuns runs;
  const Options options = runs.options("regression.toml", "run");
  runs.train(options);
  const std::string text = printed(runs, json_of(options));
  if (runs.world().rank() != 0) return;
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["samples"], 30);  // a fifth of 150
  for (const char* field : {"mae", "rmse", "r2"}) EXPECT_TRUE(json[field].is_number()) << field;
  EXPECT_FALSE(json.contains("accuracy"));
  EXPECT_LE(json["mae"].get<double>(), json["rmse"].get<double>());
}

TEST(Evaluate, CountsABinaryTaskExactly) {
  const SmallRuns runs;
  const Options options = runs.options("regression.toml", "run",
                                       {{"model.loss", "binary_cross_entropy"},
                                        {"data.train.targets", "\"regression/above\""},
                                        {"train.epochs", "30"}});
  runs.train(options);
  std::string first;
  for (const int ranks_per_node : {1000, 1, 2}) {
    const std::string text = printed(runs, json_of(options), ranks_per_node);
    if (first.empty()) first = text;
    EXPECT_EQ(text, first);
  }
  const std::string table = printed(runs, options);
  if (runs.world().rank() != 0) return;
  const nlohmann::json json = nlohmann::json::parse(first);
  ASSERT_EQ(json["confusion"].size(), 2u);
  const auto count = [&](size_t target, size_t said) {
    return json["confusion"][target][said].get<double>();
  };
  const double hits = count(1, 1), negatives = count(0, 0) + count(0, 1), positives = count(1, 0) + hits;
  EXPECT_EQ(negatives + positives, 30);
  EXPECT_DOUBLE_EQ(json["accuracy"].get<double>(), (count(0, 0) + hits) / 30);
  EXPECT_DOUBLE_EQ(json["classes"][1]["precision"].get<double>(), hits / (hits + count(0, 1)));
  EXPECT_DOUBLE_EQ(json["classes"][1]["recall"].get<double>(), hits / positives);
  EXPECT_DOUBLE_EQ(json["classes"][1]["f1"].get<double>(), 2 * hits / (positives + hits + count(0, 1)));
  EXPECT_GT(json["accuracy"].get<double>(), std::max(negatives, positives) / 30 + 0.15) << "it learns";
  EXPECT_FALSE(json.contains("top5"));
  EXPECT_EQ(table.find("top5"), std::string::npos) << table;
  EXPECT_NE(table.find("confusion"), std::string::npos) << table;
  EXPECT_EQ(runs.metrics("run", "test").back().find("top5"), std::string::npos);
}

TEST(Evaluate, SeveralLabelsHaveTheAccuracyOfWholeRows) {
  const SmallRuns runs;
  const Options options = runs.options("regression.toml", "run",
                                       {{"model.loss", "binary_cross_entropy"},
                                        {"data.train.targets", "\"regression/signs\""},
                                        {"model.layers", "[{ type = \"dense\", units = 2 }]"},
                                        {"train.epochs", "30"}});
  runs.train(options);
  const std::string text = printed(runs, json_of(options));
  if (runs.world().rank() != 0) return;
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_GT(json["accuracy"].get<double>(), 0.6);  // chance: 0.25
  for (const char* field : {"top5", "classes", "confusion", "macro_f1"})
    EXPECT_FALSE(json.contains(field)) << field;
}

TEST(Evaluate, ABinaryLossTakesNothingButProbabilities) {
  const SmallRuns runs;
  const Options options = runs.options("regression.toml", "run", {{"model.loss", "binary_cross_entropy"}});
  for (const int ranks_per_node : {1000, 1}) {
    std::string message;
    EXPECT_EQ(runs.code_of(options, &message, ranks_per_node), static_cast<int>(Exit::data));
    EXPECT_NE(message.find("regression/y, row "), std::string::npos) << message;
    EXPECT_NE(message.find("is not in [0, 1]"), std::string::npos) << message;
  }
}

TEST(Evaluate, MaeAndHuberLearn) {
  const SmallRuns runs;
  for (const char* loss : {"mae", "huber"}) {
    const Options options =
        runs.options("regression.toml", loss, {{"model.loss", loss}, {"train.epochs", "30"}});
    runs.train(options);
    const std::string text = printed(runs, json_of(options));
    if (runs.world().rank() != 0) continue;
    const nlohmann::json json = nlohmann::json::parse(text);
    EXPECT_GT(json["r2"].get<double>(), 0.8) << loss;
    if (std::string(loss) == "mae") {
      EXPECT_DOUBLE_EQ(json["loss"].get<double>(), json["mae"].get<double>());
    } else {
      EXPECT_LE(json["loss"].get<double>(), std::pow(json["rmse"].get<double>(), 2) / 2 * (1 + 1e-12));
    }
  }
}

TEST(Evaluate, OneHotTargetsAreTheSameTrainingAsLabels) {
  const SmallRuns runs;
  const std::vector<Override> longer = {{"train.epochs", "8"}};
  const Options labels = runs.options("dense.toml", "labels", longer);
  Options one_hot = runs.options("dense.toml", "one-hot", longer);
  one_hot.overrides.push_back({"data.train.targets", "\"train/one_hot\""});
  one_hot.overrides.push_back({"data.test.targets", "\"test/one_hot\""});
  runs.train(labels);
  runs.train(one_hot);
  const std::string of_labels = printed(runs, json_of(labels)), of_one_hot = printed(runs, json_of(one_hot));
  if (runs.world().rank() != 0) return;
  nlohmann::json first = nlohmann::json::parse(of_labels), second = nlohmann::json::parse(of_one_hot);
  EXPECT_GT(second["accuracy"].get<double>(), 0.9);
  first.erase("model");
  second.erase("model");
  EXPECT_EQ(first, second);
}

TEST(Evaluate, R2OfConstantTargetsIsUndefined) {
  const SmallRuns runs;
  const Options options =
      runs.options("regression.toml", "run", {{"data.train.targets", "\"regression/constant\""}});
  runs.train(options);
  const std::string text = printed(runs, json_of(options)), table = printed(runs, options);
  if (runs.world().rank() != 0) return;
  EXPECT_TRUE(nlohmann::json::parse(text)["r2"].is_null()) << text;
  EXPECT_NE(table.find("undefined"), std::string::npos) << table;
  EXPECT_NE(runs.metrics("run", "test").back().find("\"r2\":null"), std::string::npos);
}

TEST(Evaluate, RefusesAnotherModelThanTheOneThatWasTrained) {
  const SmallRuns runs;
  runs.train(runs.options("dense.toml", "run"));
  const auto refused = [&](const Override& change, const std::string& key, const std::string& before) {
    std::string message;
    try {
      evaluate(runs.world(), runs.options("dense.toml", "run", {change}));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::deck) << error.what();
      message = error.what();
    }
    for (const std::string& part : {key, before})
      EXPECT_NE(message.find(part), std::string::npos) << part << " not in: " << message;
  };
  std::string tanh = dense_layers;
  tanh.replace(tanh.find("relu"), 4, "tanh");  // tensors of the same shapes
  refused({"model.layers", tanh}, "model.layers[1]", "relu");
  refused({"model.label_smoothing", "0.1"}, "model.label_smoothing", "with 0,");
  refused({"data.normalize", "\"unit\""}, "data.normalize", "\"standardize\"");
  refused({"data.layout", "\"hw\""}, "data.layout", "\"auto\"");
  Options bare = json_of(runs.options("dense.toml", "run", {{"data.normalize", "\"unit\""}}));
  bare.checkpoint = runs.file("run/model.safetensors");  // which holds nothing to compare with
  printed(runs, bare);
}

TEST(Evaluate, WarnsWhereRowsMayHaveBeenTrainedOn) {
  const SmallRuns runs;
  runs.train(runs.options("regression.toml", "drawn"));
  runs.train(runs.options("dense.toml", "apart"));
  const auto warning = [&](const std::string& deck, const std::string& run, std::vector<Override> changes,
                           const std::string& split = "") {
    Options options = json_of(runs.options(deck, run, std::move(changes)));
    options.split = split;
    std::string text;
    printed(runs, options, 1, &text);
    return text;
  };
  const auto names = [&](const std::string& text, const std::string& key) {
    if (runs.world().rank() != 0) return;
    EXPECT_NE(text.find("may have been trained on"), std::string::npos) << text;
    EXPECT_NE(text.find(key), std::string::npos) << text;
  };
  EXPECT_EQ(warning("regression.toml", "drawn", {}), "");
  names(warning("regression.toml", "drawn", {{"run.seed", "4"}}), "run.seed (was 3, is now 4)");
  names(warning("regression.toml", "drawn", {{"data.train.fraction", "0.6"}}), "data.train.fraction");
  EXPECT_EQ(warning("regression.toml", "drawn", {{"run.seed", "4"}}, "train"), "");
  EXPECT_EQ(warning("dense.toml", "apart", {{"run.seed", "4"}}), "") << "whole arrays are not drawn";
  names(warning("dense.toml", "apart",
                {{"data.test", "{ inputs = \"train/images\", targets = \"train/labels\", rows = [0, 9] }"}}),
        "data.test.inputs");
}

TEST(Evaluate, TakesCheckpointsModelsAndSplits) {
  const SmallRuns runs;
  Options options = json_of(runs.options("dense.toml", "run"));
  options.max_steps = 15;
  runs.train(options);
  const std::string of_run = printed(runs, options);
  options.checkpoint = runs.file("run/checkpoints/step-00000015");
  const std::string of_checkpoint = printed(runs, options);
  options.checkpoint = runs.file("run/model.safetensors");
  const std::string of_model = printed(runs, options);
  options.split = "train";
  const std::string of_train = printed(runs, options);
  if (runs.world().rank() != 0) return;
  const auto loss = [](const std::string& text) { return nlohmann::json::parse(text)["loss"].get<double>(); };
  EXPECT_EQ(loss(of_checkpoint), loss(of_run));
  EXPECT_EQ(loss(of_model), loss(of_run));
  EXPECT_EQ(nlohmann::json::parse(of_train)["samples"], train_rows);
}

TEST(Evaluate, RefusesWhatIsNotThere) {
  const SmallRuns runs;
  const auto code = [&](const Options& options) {
    try {
      evaluate(runs.world(), options);
      return Exit::done;
    } catch (const Error& error) {
      return error.code();
    }
  };
  Options options = runs.options("dense.toml", "never-trained");
  EXPECT_EQ(code(options), Exit::no_input);
  options.split = "validation";  // the deck has none
  EXPECT_EQ(code(options), Exit::deck);
  options.split = "training";
  EXPECT_EQ(code(options), Exit::usage);
}

}  // namespace
}  // namespace lepton::train
