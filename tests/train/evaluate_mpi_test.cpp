// SPDX-License-Identifier: Apache-2.0
// The command `evaluate`: the figures of training's own evaluation, the same bits from any nodes, for people
// and as JSON, of a run, a checkpoint or a bare model; errors with the right code.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "small_runs.h"

namespace lepton::train {
namespace {

/// **Collective.** What rank 0 prints; "" elsewhere.
std::string printed(const SmallRuns& runs, const Options& options, int ranks_per_node = 1000) {
  const comm::World world(60, ranks_per_node);
  testing::internal::CaptureStdout();
  Exit exit = Exit::software;
  std::string what;
  try {
    exit = evaluate(world, options);
  } catch (const Error& error) {
    what = error.what();
  }
  std::fflush(stdout);
  const std::string text = testing::internal::GetCapturedStdout();
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
