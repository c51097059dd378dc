// SPDX-License-Identifier: Apache-2.0
// Contradictions between keys, with place and hint; what is derived from other tables; warnings.
#include "train/deck_rules.h"

#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

const Override validation = {"data.validation", "{ inputs = \"v\", targets = \"w\" }"};
const Override test = {"data.test", "{ inputs = \"v\", targets = \"w\" }"};

TEST(DeckRules, KeysThatSayNothingBesideOthersAreRefused) {
  const std::vector<std::vector<Override>> cases = {
      {{"model.loss", "mse"}, {"model.label_smoothing", "0.1"}},
      {{"model.huber_delta", "2"}},
      {{"model.loss", "mse"}, {"data.classes", "3"}},
      {{"data.shuffle_window", "1000"}},
      {{"data.shuffle_block", "10"}},
      {{"optimizer.momentum", "0.9"}},
      {{"optimizer.nesterov", "true"}},
      {{"optimizer.type", "sgd"}, {"optimizer.beta1", "0.8"}},
      {{"optimizer.type", "sgd"}, {"optimizer.beta2", "0.8"}},
      {{"optimizer.type", "sgd"}, {"optimizer.epsilon", "0.1"}},
      {{"schedule.steps", "10"}},
      {{"schedule.every", "10"}},
      {{"schedule.factor", "0.5"}},
      {{"schedule.type", "cosine"}, {"schedule.power", "2"}},
      {{"schedule.type", "step"}, {"schedule.every", "5"}, {"schedule.final_factor", "0.5"}},
  };
  for (const std::vector<Override>& overrides : cases)
    expect_override_error(overrides, {overrides.back().key + " has no meaning with", "leave it out"});
  expect_error_behind("[optimizer]\ntype = \"adam\"\nmomentum = 0.9\n", "decks/deck.toml:8:12",
                      {"optimizer.momentum has no meaning with optimizer.type = \"adam\"", "\"sgd\""});
  EXPECT_NO_THROW(with({{"optimizer.momentum", "0"}})) << "a default says nothing and may stand";
}

TEST(DeckRules, OptimizerAndSchedule) {
  expect_error_behind("[optimizer]\ntype = \"sgd\"\nnesterov = true\n", "decks/deck.toml:8:12",
                      {"needs momentum", "0.9"});
  expect_error_behind("[schedule]\ntype = \"step\"\n", "decks/deck.toml:7:8", {"needs schedule.every"});
  expect_override_error(
      {{"schedule.type", "cosine"}, {"schedule.steps", "100"}, {"schedule.warmup_steps", "100"}},
      {"schedule.warmup_steps = 100 leaves nothing of schedule.steps = 100"});
}

TEST(DeckRules, Units) {
  expect_error_behind("[train]\nbatch_size = 16\nunit_size = 17\n", "decks/deck.toml:8:13",
                      {"train.unit_size = 17 is larger than train.batch_size = 16"});
  EXPECT_NO_THROW(with({{"train.batch_size", "16"}, {"train.unit_size", "16"}}));
}

TEST(DeckRules, SharesGoWithFixedClasses) {
  expect_override_error({{"balance.classes", "fixed"}}, {"needs balance.shares", "8 cuda"});
  for (const char* classes : {"refuse", "free"})
    expect_override_error({{"balance.classes", classes}, {"balance.shares", "[\"1 cpu\"]"}},
                          {"balance.shares has no meaning with balance.classes"});
}

TEST(DeckRules, LossAndTargets) {
  expect_override_error({{"model.loss", "mse"}, {"data.target_kind", "classes"}},
                        {"does not go with model.loss = \"mse\"", "\"values\""});
  expect_override_error({{"data.target_kind", "values"}}, {"does not go with", "needs labels"});
  EXPECT_EQ(with({{"model.loss", "mae"}}).data.target_kind, data::TargetKind::values);
  EXPECT_EQ(with({}).data.target_kind, data::TargetKind::automatic);
  EXPECT_FALSE(with({{"model.loss", "binary_cross_entropy"}}).data.needs_classes);
  const auto range = [](const std::string& loss) { return with({{"model.loss", loss}}).data.target_range; };
  for (const char* loss : {"binary_cross_entropy", "binary_focal", "binary_dice"})
    EXPECT_EQ(range(loss), data::TargetRange::probability) << loss;
  for (const char* loss : {"softmax_cross_entropy", "softmax_dice", "mse", "mae", "huber"})
    EXPECT_EQ(range(loss), data::TargetRange::any) << loss;
  EXPECT_EQ(range("binary_hinge"), data::TargetRange::sign);
  EXPECT_EQ(range("poisson"), data::TargetRange::not_negative);
  for (const char* loss : {"softmax_focal", "multiclass_hinge", "softmax_dice"})
    EXPECT_TRUE(with({{"model.loss", loss}}).data.needs_classes) << loss;
}

TEST(DeckRules, WeightsOfClasses) {
  const Override weights = {"model.class_weights", "[1, 0.5]"};
  expect_override_error({{"model.loss", "mse"}, weights},
                        {"model.class_weights has no meaning with", "multiclass_hinge"});
  expect_override_error({{"data.classes", "3"}, weights}, {"has 2 weights for data.classes = 3"});
  expect_override_error({{"model.class_weights", "[0, 0]"}}, {"lets no class count"});
  expect_override_error({{"model.class_weights", "[1, 1e-9]"}}, {"next to nothing", "1e-6"});
  EXPECT_EQ(with({weights}).class_weights, (std::vector<double>{1, 0.5}));
}

TEST(DeckRules, KeysThatSomeLossesTake) {
  expect_override_error({{"model.focal_gamma", "1"}}, {"\"softmax_focal\" or \"binary_focal\""});
  expect_override_error({{"model.loss", "softmax_focal"}, {"model.focal_alpha", "0.5"}},
                        {"\"binary_focal\""});
  expect_override_error({{"model.dice_smooth", "2"}}, {"\"softmax_dice\" or \"binary_dice\""});
  for (const char* key : {"data.ignored_class", "evaluation.top_k"})
    expect_override_error({{"model.loss", "binary_focal"}, {key, "2"}}, {key, "\"softmax_dice\""});
}

TEST(DeckRules, Metrics) {
  expect_override_error({{"model.loss", "mse"}, {"evaluation.metrics", "[\"f1\"]"}},
                        {"evaluation.metrics", "does not go with model.loss = \"mse\"", "r2"});
  expect_override_error({{"model.loss", "mse"}, {"evaluation.metric", "auc"}}, {"does not go with"});
  using Names = std::vector<std::string>;
  EXPECT_EQ(with({{"evaluation.metric", "auc"}}).evaluation.metrics, Names{"auc"});
  EXPECT_EQ(
      with({{"evaluation.metric", "f1"}, {"evaluation.metrics", "[\"f1\", \"auc\"]"}}).evaluation.metrics,
      (Names{"f1", "auc"}));
  EXPECT_TRUE(with({}).evaluation.metrics.empty());
}

TEST(DeckRules, Weights) {
  for (const char* key : {"model.weights_missing", "model.weights_unexpected"}) {
    const std::string value = key == std::string("model.weights_missing") ? "initialise" : "ignore";
    expect_override_error({{key, value}}, {std::string(key) + " says nothing without model.weights"});
  }
  expect_override_error({{"model.weights_rename", "[\"a -> b\"]"}}, {"says nothing without model.weights"});
  EXPECT_EQ(parse(std::string(smallest_deck) + "weights = \"w.safetensors\"\n").weights.file,
            "decks/w.safetensors");
}

TEST(DeckRules, Windows) {
  expect_override_error(
      {{"data.shuffle", "window"}, {"data.shuffle_window", "10"}, {"data.shuffle_block", "11"}},
      {"data.shuffle_block = 11 is larger than data.shuffle_window = 10"});
  expect_override_error({{"data.sequence_stride", "4"}}, {"says nothing without data.sequence"});
  EXPECT_EQ(with({{"data.sequence", "8"}, {"data.sequence_stride", "4"}}).data.sequence_stride, 4);
}

TEST(DeckRules, Evaluation) {
  expect_override_error({{"evaluation.patience", "3"}}, {"evaluation.patience = 3 needs a validation split"});
  expect_override_error({validation, {"evaluation.every", "end"}, {"evaluation.patience", "3"}},
                        {"does not go with evaluation.every = \"end\""});
  expect_override_error({{"evaluation.min_improvement", "0.1"}}, {"says nothing without patience"});
  expect_override_error({{"evaluation.metric", "rmse"}}, {"does not go with model.loss", "\"accuracy\""});
  expect_override_error({{"model.loss", "mse"}, {"evaluation.metric", "accuracy"}},
                        {"does not go with", "\"rmse\""});
}

TEST(DeckRules, MetricsFollowTheLoss) {
  const auto metric = [](const char* loss) { return with({{"model.loss", loss}}).evaluation.metric; };
  EXPECT_EQ(metric("softmax_cross_entropy"), "accuracy");
  EXPECT_EQ(metric("binary_cross_entropy"), "accuracy");
  EXPECT_EQ(metric("mse"), "rmse");
  EXPECT_EQ(metric("huber"), "rmse");
  EXPECT_EQ(metric("mae"), "mae");
  EXPECT_EQ(with({{"evaluation.metric", "loss"}}).evaluation.metric, "loss");
}

TEST(DeckRules, DerivedFromOtherTables) {
  const Deck deck = with({{"run.seed", "12"}, {"data.classes", "7"}});
  EXPECT_EQ(deck.data.seed, 12u);
  EXPECT_EQ(deck.model.outputs, 7);
  EXPECT_EQ(deck.model.position.line, 4);
}

TEST(DeckRules, WarnsOfStoppingByTheTestSplit) {
  const Deck by_test = with({test, {"evaluation.patience", "3"}});
  ASSERT_EQ(by_test.warnings.size(), 1u);
  EXPECT_NE(by_test.warnings[0].find("early stopping uses the test split"), std::string::npos);
  EXPECT_TRUE(with({validation, {"evaluation.patience", "3"}}).warnings.empty());
}

TEST(DeckRules, WarnsOfADoubledSoftmax) {
  const char* const layers = "[{ type = \"dense\", units = 3, activation = \"softmax\" }]";
  ASSERT_EQ(with({{"model.layers", layers}}).warnings.size(), 1u);
  EXPECT_EQ(with({{"model.layers", "[{ type = \"softmax\" }]"}}).warnings.size(), 1u);
  EXPECT_EQ(with({{"model.loss", "binary_cross_entropy"}, {"model.layers", "[{ type = \"sigmoid\" }]"}})
                .warnings.size(),
            1u);
  EXPECT_TRUE(with({{"model.loss", "mse"}, {"model.layers", layers}}).warnings.empty());
  EXPECT_EQ(with({{"model.loss", "softmax_focal"}, {"model.layers", layers}}).warnings.size(), 1u);
  EXPECT_TRUE(with({{"model.loss", "multiclass_hinge"}, {"model.layers", layers}}).warnings.empty());
}

}  // namespace
}  // namespace lepton::train
