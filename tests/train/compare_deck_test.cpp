// SPDX-License-Identifier: Apache-2.0
// Decks against the identity of a checkpoint: which keys are refused, which are told, which do not matter.
#include "train/compare_deck.h"

#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

const std::vector<Override> drawn = {{"data.train.fraction", "0.8"}, {"data.test", "{ fraction = 0.2 }"}};

checkpoint::Identity identity_of(const Deck& deck) {
  return {"cpu", deck.mathematical, "0123"};
}

Deck changed(std::vector<Override> overrides, const Override& change) {
  overrides.push_back(change);
  return with(overrides);
}

TEST(RequireSameModel, NamesTheKeyAndBothValues) {
  const checkpoint::Identity trained = identity_of(with({}));
  const auto refused = [&](const Override& change, const std::string& key, const std::string& values) {
    try {
      require_same_model(trained, with({change}), "runs/a/step-1", true);
      ADD_FAILURE() << change.key;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::deck);
      EXPECT_EQ(error.where(), key);
      EXPECT_NE(std::string(error.what()).find("runs/a/step-1 was trained with " + values), std::string::npos)
          << error.what();
    }
  };
  refused({"model.loss", "mse"}, "model.loss", "\"softmax_cross_entropy\", the deck says \"mse\"");
  refused({"model.l2", "0.5"}, "model.l2", "0, the deck says 0.5");
  refused({"data.normalize", "unit"}, "data.normalize", "\"none\", the deck says \"unit\"");
  refused({"data.transforms", "[{ type = \"log1p\" }]"}, "data.transforms", "absent");
  refused({"data.inputs", "{ input = { normalize = \"unit\" } }"}, "data.inputs", "absent");
  refused({"data.layout", "hwc"}, "data.layout", "\"auto\", the deck says \"hwc\"");
  refused({"model.layers", "[{ type = \"relu\" }, { type = \"dense\", units = 10 }]"}, "model.layers[0]",
          "{");
  const Deck longer = with({{"model.layers", "[{ type = \"dense\", units = 10 }, { type = \"softmax\" }]"}});
  EXPECT_THROW(require_same_model(trained, longer, "", true), Error);
  EXPECT_THROW(require_same_model(identity_of(longer), with({}), "", true), Error) << "a layer less";
}

std::vector<data::Input> inputs_of(const std::vector<Shape>& shapes) {
  std::vector<data::Input> inputs;
  for (const Shape& shape : shapes) {
    data::Input& input = inputs.emplace_back();
    input.name = "input" + std::to_string(inputs.size());
    input.shape = shape;
  }
  return inputs;
}

TEST(RequireSameShape, RowsMustHaveTheShapeOfTraining) {
  checkpoint::Identity trained = identity_of(with({}));
  trained.mathematical["data.input_shape"] = "[10]";
  EXPECT_NO_THROW(require_same_shape(trained, inputs_of({{10}}), "new.h5:x", "runs/a/step-1"));
  try {
    require_same_shape(trained, inputs_of({{12}}), "new.h5:x", "runs/a/step-1");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_EQ(error.where(), "new.h5:x");
    EXPECT_NE(std::string(error.what()).find("[12]"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("[10]"), std::string::npos);
  }
  trained.mathematical["data.input_shape"] = "input1 [10], input2 [3]";
  EXPECT_NO_THROW(require_same_shape(trained, inputs_of({{10}, {3}}), "", ""));
  EXPECT_THROW(require_same_shape(trained, inputs_of({{10}, {4}}), "", ""), Error);
}

TEST(RequireSameModel, OtherKeysMayChange) {
  const checkpoint::Identity trained = identity_of(with({}));
  for (const Override& change : std::vector<Override>{{"run.seed", "9"},
                                                      {"train.batch_size", "16"},
                                                      {"optimizer.learning_rate", "3"},
                                                      {"data.file", "other.h5"},
                                                      {"data.bad_rows", "skip"},
                                                      {"data.train.inputs", "z"}})
    EXPECT_NO_THROW(require_same_model(trained, with({change}), "", true)) << change.key;
  EXPECT_NO_THROW(require_same_model(trained, with({{"data.layout", "hwc"}}), "", false));
  EXPECT_THROW(require_same_model(trained, with({{"data.normalize", "unit"}}), "", false), Error);
}

TEST(ChangedSplits, NamesWhatDecidesTheRows) {
  const checkpoint::Identity trained = identity_of(with(drawn));
  const auto told = [&](const Override& change, const std::string& fingerprint = "0123") {
    return changed_splits(trained, changed(drawn, change), fingerprint, "runs/a");
  };
  EXPECT_EQ(changed_splits(trained, with(drawn), "0123", ""), "");
  EXPECT_NE(told({"run.seed", "5"}).find("run.seed (was 0, is now 5)"), std::string::npos);
  EXPECT_NE(told({"run.seed", "5"}).find("may have been trained on"), std::string::npos);
  EXPECT_NE(told({"data.train.fraction", "0.7"}).find("data.train.fraction (was 0.8, is now 0.7)"),
            std::string::npos);
  EXPECT_NE(told({"data.validation", "{ inputs = \"v\", targets = \"w\" }"})
                .find("data.validation.inputs (was "
                      "absent, is now \"v\")"),
            std::string::npos);
  EXPECT_EQ(told({"optimizer.learning_rate", "3"}), "");
  EXPECT_NE(told({"data.file", "other.h5"}, "4567").find("data.file"), std::string::npos);
  EXPECT_EQ(told({"data.file", "moved.h5"}), "") << "the same data in another place";
  const std::string both = told({"run.seed", "5"}, "4567");
  EXPECT_NE(both.find("run.seed"), std::string::npos);
  EXPECT_NE(both.find("data.file"), std::string::npos);
}

TEST(ChangedSplits, WhatDecidesNoRowsIsNotTold) {
  const checkpoint::Identity whole = identity_of(with({}));
  EXPECT_EQ(changed_splits(whole, with({{"run.seed", "5"}}), "0123", ""), "") << "nothing is drawn by it";
  EXPECT_EQ(changed_splits(whole, with({{"data.train.targets", "z"}}), "4567", ""), "");
}

}  // namespace
}  // namespace lepton::train
