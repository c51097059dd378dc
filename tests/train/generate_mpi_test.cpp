// SPDX-License-Identifier: Apache-2.0
// The command `generate`: a model that has learned a simple text continues it, longer than its sequence, the
// same again with the same seed, also where the network knows more tokens than the vocabulary; JSON;
// refusals.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "errors.h"
#include "small_runs.h"

namespace lepton::train {
namespace {

class GenerateTest : public ::testing::Test {
 protected:
  GenerateTest() {
    if (runs_.world().rank() == 0) {
      std::string text;
      for (int i = 0; i < 60; ++i) text += "abcd";
      write_text(runs_.file("text.txt"), text + "\n");
      write_text(runs_.file("lm.toml"),
                 "[run]\nprogress_every = \"1h\"\n[data]\nfile = \"text.h5\"\nsequence = 6\n"
                 "sequence_stride = 1\ntrain = { inputs = \"train/tokens\" }\n"
                 "[model]\nlayers = [{ type = \"embedding\", rows = 9, width = 8, init_deviation = 0.5 },\n"
                 "{ type = \"positional_embedding\" }, { type = \"transformer_block\", heads = 2, causal = "
                 "true },\n{ type = \"dense\", units = 9 }]\n"
                 "[optimizer]\nlearning_rate = 0.02\n[train]\nepochs = 4\nbatch_size = 16\nunit_size = 6\n"
                 "threads = 1\n");
    }
    runs_.world().barrier();
    Options prepared;
    prepared.target = runs_.file("text.h5");
    prepared.texts = {runs_.file("text.txt")};
    prepare(runs_.world(), prepared);
  }
  Options asked() const {
    Options options = runs_.options("lm.toml", "run");
    options.prompt = "bc";
    options.count = 11;
    options.temperature = 0;
    return options;
  }
  /// **Collective.** What rank 0 prints.
  std::string printed(const Options& options) const {
    ::testing::internal::CaptureStdout();
    EXPECT_EQ(generate(runs_.world(), options), Exit::done);
    return ::testing::internal::GetCapturedStdout();
  }
  const SmallRuns runs_;
};

TEST_F(GenerateTest, ContinuesWhatItHasLearned) {
  runs_.train(runs_.options("lm.toml", "run"));
  const bool tells = runs_.world().rank() == 0;
  EXPECT_EQ(printed(asked()), tells ? "bcdabcdabcdab\n" : "");
  Options json = asked();
  json.json = true;
  const std::string text = printed(json);
  if (tells) {
    const auto object = nlohmann::json::parse(text);
    EXPECT_EQ(object["text"], "dabcdabcdab");
    EXPECT_EQ(object["tokens"].size(), 11u);
  }
  Options drawn = asked();
  drawn.temperature = 50;
  drawn.count = 40;
  const std::string one = printed(drawn);
  EXPECT_EQ(printed(drawn), one);
  drawn.seed = 2;
  if (tells) {
    EXPECT_NE(printed(drawn), one);
  } else {
    printed(drawn);
  }
  drawn.top_k = 1;
  EXPECT_EQ(printed(drawn).substr(0, tells ? 6 : 0), tells ? "bcdabc" : "");
  drawn.checkpoint = runs_.file("run") + "/model.safetensors";
  EXPECT_EQ(printed(drawn).substr(0, tells ? 6 : 0), tells ? "bcdabc" : "");
}

TEST_F(GenerateTest, Refusals) {
  expect_error_of([&] { generate(runs_.world(), asked()); }, Exit::no_input, {"run"});
  runs_.train(runs_.options("lm.toml", "run", {{"train.max_steps", "1"}}));
  Options unknown = asked();
  unknown.prompt = "xyz";
  expect_error_of([&] { generate(runs_.world(), unknown); }, Exit::usage, {"'x' is not in the vocabulary"});
  const std::vector<Override> sees_all = {
      {"train.max_steps", "1"},
      {"model.layers",
       "[{ type = \"embedding\", rows = 5, width = 8 }, { type = \"attention\", heads = 2 }, { type = "
       "\"dense\", units = 5 }]"}};
  runs_.train(runs_.options("lm.toml", "sees-all", sees_all));
  Options behind = runs_.options("lm.toml", "sees-all", sees_all);
  expect_error_of([&] { generate(runs_.world(), behind); }, Exit::deck, {"attention_1", "causal"});
  const std::vector<Override> both_ways = {
      {"train.max_steps", "1"},
      {"model.layers",
       "[{ type = \"embedding\", rows = 5, width = 8 }, { type = \"lstm\", units = 4, bidirectional = true, "
       "output = \"sequence\" }, { type = \"dense\", units = 5 }]"}};
  runs_.train(runs_.options("lm.toml", "both-ways", both_ways));
  Options two = runs_.options("lm.toml", "both-ways", both_ways);
  expect_error_of([&] { generate(runs_.world(), two); }, Exit::deck, {"lstm_1", "of one direction"});
  const std::vector<Override> windows = {{"train.max_steps", "1"},
                                         {"model.layers",
                                          "[{ type = \"embedding\", rows = 5, width = 8 }, { type = "
                                          "\"conv1d\", filters = 8, kernel = 3, padding = "
                                          "\"same\" }, { type = \"dense\", units = 5 }]"}};
  runs_.train(runs_.options("lm.toml", "windows", windows));
  Options window = runs_.options("lm.toml", "windows", windows);
  expect_error_of([&] { generate(runs_.world(), window); }, Exit::deck, {"conv1d_1", "behind"});
  runs_.train(runs_.options("dense.toml", "images", {{"train.max_steps", "1"}}));
  Options images = runs_.options("dense.toml", "images");
  expect_error_of([&] { generate(runs_.world(), images); }, Exit::data, {"vocabulary"});
}

}  // namespace
}  // namespace lepton::train
