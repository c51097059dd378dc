// SPDX-License-Identifier: Apache-2.0
// Several losses in a deck: options, names, what they ask of data and network, and every refusal.
#include "train/deck_losses.h"

#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

const std::string two_losses =
    "{ from = \"kind\", target = \"k\", type = \"softmax_cross_entropy\" }, "
    "{ from = \"age\", target = \"a\", type = \"huber\", weight = 0.5 }";

std::string deck_of_losses(const std::string& losses, const std::string& more_data = "",
                           const std::string& more = "",
                           const std::string& targets = "{ a = \"ages\", k = \"kinds\" }") {
  return "[data]\nfile = \"d.h5\"\ntrain = { inputs = \"x\", targets = " + targets + " }\n" + more_data +
         "\n[model]\nlayers = [{ type = \"dense\", units = 8, name = \"stem\" }, "
         "{ type = \"dense\", units = 3, name = \"kind\" }, "
         "{ type = \"dense\", units = 1, from = \"stem\", name = \"age\" }]\nlosses = [" +
         losses + "]\n" + more;
}

TEST(DeckLosses, WhatTheyAskOfDataAndNetwork) {
  const Deck deck =
      parse(deck_of_losses(two_losses, "test = { inputs = \"u\", targets = { k = \"l\", a = \"b\" } }"));
  ASSERT_EQ(deck.losses.size(), 2U);
  EXPECT_EQ(deck.losses[0].name, "k");
  EXPECT_EQ(deck.losses[0].from, "kind");
  EXPECT_EQ(deck.losses[0].weight, 1);
  EXPECT_EQ(deck.losses[1].spec.kind, ops::LossKind::huber);
  EXPECT_EQ(deck.losses[1].weight, 0.5);
  ASSERT_EQ(deck.data.targets.size(), 2U);
  EXPECT_EQ(deck.data.targets[0].name, "k");
  EXPECT_TRUE(deck.data.targets[0].needs_classes);
  EXPECT_EQ(deck.data.targets[0].kind, data::TargetKind::automatic);
  EXPECT_EQ(deck.data.targets[1].kind, data::TargetKind::values);
  EXPECT_EQ(deck.data.train->named_targets,
            (std::vector<std::pair<std::string, std::string>>{{"a", "ages"}, {"k", "kinds"}}));
  EXPECT_TRUE(deck.data.train->targets.empty());
  EXPECT_EQ(deck.model.heads.size(), 2U);
  EXPECT_EQ(deck.evaluation.metric, "loss");
  EXPECT_EQ(deck.mathematical.at("model.losses"),
            "[{ type = \"softmax_cross_entropy\", from = \"kind\", target = \"k\" }, "
            "{ type = \"huber\", from = \"age\", target = \"a\", weight = 0.5 }]");
  EXPECT_EQ(parse(deck.resolved).mathematical.at("model.losses"), deck.mathematical.at("model.losses"));
}

TEST(DeckLosses, EveryOptionIsTaken) {
  const auto loss = [](const std::string& type, const std::string& more) {
    return parse(
               deck_of_losses("{ from = \"kind\", target = \"k\", type = \"" + type + "\", " + more +
                                  " }, { from = \"age\", target = \"a\", type = \"softmax_cross_entropy\" }",
                              "", "[evaluation]\ntop_k = 2\n"))
        .losses[0];
  };
  EXPECT_EQ(loss("softmax_cross_entropy", "label_smoothing = 0.25").spec.label_smoothing, 0.25);
  EXPECT_EQ(loss("softmax_cross_entropy", "weight = 2").spec.top, 2);
  EXPECT_EQ(loss("huber", "huber_delta = 3").spec.huber_delta, 3);
  EXPECT_EQ(loss("softmax_focal", "focal_gamma = 3").spec.focal_gamma, 3);
  EXPECT_EQ(loss("binary_focal", "focal_alpha = 0.5").spec.focal_alpha, 0.5);
  EXPECT_EQ(loss("softmax_dice", "dice_smooth = 0.5").spec.dice_smooth, 0.5);
  EXPECT_EQ(loss("softmax_cross_entropy", "classes = 7").classes, 7);
  EXPECT_EQ(loss("softmax_cross_entropy", "target_kind = \"one_hot\"").target_kind,
            data::TargetKind::one_hot);
  EXPECT_EQ(loss("mse", "name = \"other\"").name, "other");
}

TEST(DeckLosses, TwoOfOneTarget) {
  const Deck deck = parse(
      deck_of_losses(two_losses + ", { from = \"age\", target = \"a\", type = \"mae\", name = \"mae\" }"));
  EXPECT_EQ(deck.data.targets.size(), 3U);
  EXPECT_EQ(deck.data.targets[2].name, "a");
  expect_error_of(
      [] { parse(deck_of_losses(two_losses + ", { from = \"age\", target = \"a\", type = \"mae\" }")); },
      Exit::deck, {"the second loss called \"a\"", "name = "});
}

void expect_losses_error(const std::string& losses, const std::vector<std::string>& parts) {
  expect_error_of([&] { parse(deck_of_losses(losses)); }, Exit::deck, parts);
}

TEST(DeckLosses, RefusesWhatIsNoLoss) {
  expect_losses_error("3", {"model.losses = 3", "a list of losses"});
  expect_losses_error("{ from = \"kind\", target = \"k\" }", {"model.losses[0] has no type"});
  expect_losses_error("{ from = \"kind\", type = \"mse\" }", {"has no target"});
  expect_losses_error("{ target = \"k\", type = \"mse\" }", {"has no from"});
  expect_losses_error("{ from = \"kind\", target = \"k\", type = \"mse\", wieght = 2 }",
                      {"unknown key model.losses[0].wieght", "Did you mean \"weight\"?"});
  expect_losses_error("{ from = \"kind\", target = \"k\", type = \"mse\", huber_delta = 2 }",
                      {"model.losses[0].huber_delta has no meaning with the loss mse"});
  expect_losses_error("{ from = \"kind\", target = \"k\", type = \"mse\", weight = 0 }",
                      {"model.losses[0].weight = 0"});
  expect_losses_error("{ from = \"kind\", target = \"k\", type = \"mse\", name = \"a b\" }",
                      {"which is no name"});
  expect_losses_error("{ from = \"kind\", target = \"k\", type = \"means\" }",
                      {"model.losses[0].type = \"means\""});
}

TEST(DeckLosses, RefusesWhatDoesNotFit) {
  const auto refuse = [](const std::string& deck, const std::vector<std::string>& parts) {
    expect_error_of([&] { parse(deck); }, Exit::deck, parts);
  };
  refuse(deck_of_losses(two_losses, "", "", "\"y\""), {"data.train.targets gives one target without a name"});
  refuse(deck_of_losses(two_losses, "", "", "{ a = \"ages\" }"),
         {"the target \"k\", which data.train.targets does not name"});
  refuse(deck_of_losses(two_losses, "", "", "{ a = \"ages\", k = \"y\", z = \"z\" }"),
         {"names \"z\", which no loss compares with"});
  refuse(
      "[data]\nfile = \"d.h5\"\ntrain = { inputs = \"x\", targets = { a = \"b\" } }\n[model]\nlayers = "
      "[{ type = \"dense\", units = 1 }]\n",
      {"no loss names its target"});
  refuse(deck_of_losses(two_losses, "", "loss = \"mse\"\n"), {"model.loss does not go with model.losses"});
  refuse(deck_of_losses(two_losses, "ignored_class = 3"),
         {"data.ignored_class does not go with model.losses"});
  refuse(deck_of_losses(two_losses, "", "class_weights = [1, 2, 3]\n"),
         {"model.class_weights does not go with model.losses"});
  refuse(deck_of_losses(two_losses, "", "[evaluation]\nmetric = \"accuracy\"\n"),
         {"evaluation.metric is \"loss\""});
  refuse(deck_of_losses(two_losses, "", "[evaluation]\nmetrics = [\"auc\"]\n"),
         {"evaluation.metrics does not go with"});
  refuse(deck_of_losses(
             "{ from = \"age\", target = \"a\", type = \"mse\" }, { from = \"kind\", target = \"k\", type = "
             "\"mse\" }",
             "", "[evaluation]\ntop_k = 3\n"),
         {"evaluation.top_k is of classes"});
  refuse(
      deck_of_losses(
          "{ from = \"kind\", target = \"k\", type = \"softmax_cross_entropy\", target_kind = \"values\" }, "
          "{ from = \"age\", target = \"a\", type = \"mse\" }"),
      {"needs labels, which its target_kind contradicts"});
  refuse(
      deck_of_losses("{ from = \"sort\", target = \"k\", type = \"mse\" }, { from = \"age\", target = \"a\", "
                     "type = \"mse\" }, "
                     "{ from = \"kind\", target = \"a\", type = \"mse\", name = \"b\" }"),
      {"no layer has this name"});
}

TEST(DeckLosses, PartsOfTheTrainSplitHaveItsTargets) {
  const Deck deck = parse(deck_of_losses(two_losses, "validation = { fraction = 0.5 }", "",
                                         "{ a = \"ages\", k = \"kinds\" }, fraction = 0.5"));
  EXPECT_EQ(deck.data.validation->named_targets, deck.data.train->named_targets);
}

}  // namespace
}  // namespace lepton::train
