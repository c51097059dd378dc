// SPDX-License-Identifier: Apache-2.0
// Every type of key with what it takes and what it refuses, and the texts of the refusals.
#include "train/deck_value.h"

#include <gtest/gtest.h>

#include "deck_helpers.h"
#include "train/deck_keys.h"

namespace lepton::train {
namespace {

DeckValue value_of(const std::string& key, const std::string& text) {
  return check_value(*find_deck_key(key), parse_deck_value(text, {"d.toml", 3, 4}));
}

void expect_refused(const std::string& key, const std::string& text, const std::string& expected) {
  try {
    value_of(key, text);
    ADD_FAILURE() << key << " = " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_EQ(error.where(), "d.toml:3:4");
    EXPECT_NE(error.problem().find(key + " = "), std::string::npos) << error.what();
    EXPECT_NE(error.problem().find("is not " + expected), std::string::npos) << error.what();
    EXPECT_NE(error.hint().find(find_deck_key(key)->sentence), std::string::npos) << error.what();
  }
}

TEST(DeckValue, Integers) {
  EXPECT_EQ(value_of("train.epochs", "7").integer, 7);
  EXPECT_EQ(value_of("run.seed", "9223372036854775807").integer, INT64_MAX);
  for (const char* text : {"0", "-1", "1.0", "many", "\"7\"", "true", "[7]", "2000000000"})
    expect_refused("train.epochs", text, "an integer from 1 to 1000000000");
  expect_refused("run.seed", "-1", "an integer from 0 up");
}

TEST(DeckValue, Numbers) {
  EXPECT_EQ(value_of("optimizer.learning_rate", "1").number, 1.0);  // integers are numbers
  EXPECT_EQ(value_of("optimizer.learning_rate", "1e-3").canonical, "0.001");
  for (const char* text : {"0", "-0.1", "inf", "nan", "fast", "true"})
    expect_refused("optimizer.learning_rate", text, "a number above 0");
  EXPECT_EQ(value_of("optimizer.beta1", "0").number, 0.0);
  for (const char* text : {"1", "-0.1", "1.5"})
    expect_refused("optimizer.beta1", text, "a number from 0 to below 1");
  EXPECT_EQ(value_of("data.train.fraction", "1").number, 1.0);
  for (const char* text : {"0", "1.01"}) expect_refused("data.train.fraction", text, "a number above 0 to 1");
}

TEST(DeckValue, TextsChoicesAndFlags) {
  EXPECT_EQ(value_of("run.dir", "a b").text, "a b");
  expect_refused("run.dir", "[1]", "text");
  expect_refused("run.dir", "\"\"", "text");
  EXPECT_EQ(value_of("optimizer.type", "adamw").choice, 2);
  expect_refused("optimizer.type", "adm", "\"sgd\", \"adam\" or \"adamw\"");
  expect_refused("optimizer.type", "{}", "\"sgd\", \"adam\" or \"adamw\"");
  EXPECT_TRUE(value_of("optimizer.nesterov", "true").boolean);
  for (const char* text : {"1", "yes", "\"true\""})
    expect_refused("optimizer.nesterov", text, "true or false");
}

TEST(DeckValue, MistypedChoicesNameTheNearest) {
  expect_error_behind("[optimizer]\ntype = \"adm\"\n", "decks/deck.toml:7:8", {"Did you mean \"adam\"?"});
  expect_error_behind("[optimizer]\ntype = 3\n", "decks/deck.toml:7:8", {"optimizer.type = 3 is not"});
}

TEST(DeckValue, FilesAndRows) {
  EXPECT_EQ(value_of("data.file", "a.h5").texts, std::vector<std::string>{"a.h5"});
  expect_refused("data.file", "[\"a.h5\"]", "a path or glob");
  EXPECT_EQ(value_of("data.files", "[\"a.h5\", \"b-*.h5\"]").texts.size(), 2u);
  for (const char* text : {"a.h5", "[]", "[1]", "[\"\"]"})
    expect_refused("data.files", text, "a list of paths");
  EXPECT_EQ(value_of("data.train.rows", "[5, 9]").rows, (std::pair<int64_t, int64_t>(5, 9)));
  for (const char* text : {"[9, 5]", "[5, 5]", "[-1, 5]", "[1]", "[1, 2, 3]", "[0.0, 5.0]", "5", "x"})
    expect_refused("data.train.rows", text, "two rows [from, to] with 0 <= from < to");
}

TEST(DeckValue, PathsAndRenames) {
  EXPECT_EQ(value_of("model.weights", "a.safetensors").texts, std::vector<std::string>{"a.safetensors"});
  expect_refused("model.weights", "[\"a\"]", "a path in quotes");
  const auto renames = value_of("model.weights_rename", "[\"a. -> \", \" -> b.\", \"x -> y -> z\"]").renames;
  EXPECT_EQ(renames,
            (std::vector<std::pair<std::string, std::string>>{{"a.", ""}, {"", "b."}, {"x", "y -> z"}}));
  for (const char* text : {"[]", "\"a -> b\"", "[3]", "[\"a->b\"]", "[\"a\"]", "{ a = \"b\" }"})
    expect_refused("model.weights_rename", text, "a list of beginnings of names");
}

TEST(DeckValue, SharesOfClasses) {
  const auto shares = value_of("balance.shares", "[\"8 cuda NVIDIA H200\", \"10000 c\"]").shares;
  EXPECT_EQ(shares, (std::vector<std::pair<int64_t, std::string>>{{8, "cuda NVIDIA H200"}, {10000, "c"}}));
  for (const char* text :
       {"[]", "\"8 cuda\"", "[8]", "[\"cuda\"]", "[\"8\"]", "[\"8 \"]", "[\"8  cuda\"]", "[\"0 cuda\"]",
        "[\"-1 cuda\"]", "[\"10001 cuda\"]", "[\"1.5 cuda\"]", "[\"8cuda\"]", "[\"1 cpu\", \"2 cpu\"]",
        "[\"1 cpu\", \"2 cpu avx2\"]", "[\"99999999999999999999 a\"]"})
    expect_refused("balance.shares", text, "a list of units, 1 to 10000, and class names");
}

TEST(DeckValue, ListsOfNumbers) {
  const DeckValue value = value_of("model.class_weights", "[1, 0.5, 0]");
  EXPECT_EQ(value.numbers, (std::vector<double>{1, 0.5, 0}));
  EXPECT_EQ(value.canonical, value_of("model.class_weights", "[1.0, 5e-1, 0]").canonical);
  for (const char* text :
       {"1", "[]", "[-1]", "[\"1\"]", "[inf]", "[nan]", "[1e7]", "heavy", "[[1]]", "[true]"})
    expect_refused("model.class_weights", text, "a list of numbers from 0 to 1000000, as in [0.5, 1]");
}

TEST(DeckValue, ListsOfNames) {
  EXPECT_EQ(value_of("evaluation.metrics", "[\"auc\", \"f1\"]").texts,
            (std::vector<std::string>{"auc", "f1"}));
  EXPECT_TRUE(value_of("evaluation.metrics", "[]").texts.empty());
  for (const char* text : {"f1", "[1]", "[\"accuracy\"]", "[\"f1\", \"f1\"]", "[[\"f1\"]]"})
    expect_refused("evaluation.metrics", text, "a list of some of \"precision\", \"recall\"");
}

TEST(DeckValue, Durations) {
  EXPECT_EQ(value_of("run.deadline", "60s").number, 60.0);
  EXPECT_EQ(value_of("run.deadline", "250ms").number, 0.25);
  EXPECT_EQ(value_of("run.deadline", "1.5 min").number, 90.0);
  EXPECT_EQ(value_of("run.deadline", "2h").canonical, "\"7200s\"");
  for (const char* text : {"60", "0s", "-1s", "s", "60 sec", "1e3s", "infs", "0x10s", "60s later", "1  s",
                           "end", "5 steps", "[60]"})
    expect_refused("run.deadline", text, "a time above 0");
}

TEST(DeckValue, Intervals) {
  EXPECT_EQ(value_of("evaluation.every", "500 steps").interval.steps, 500);
  EXPECT_EQ(value_of("evaluation.every", "1 step").canonical, "\"1 steps\"");
  EXPECT_EQ(value_of("evaluation.every", "1 epoch").interval.epochs, 1);
  EXPECT_EQ(value_of("evaluation.every", "2 epochs").canonical, "\"2 epochs\"");
  const Interval end = value_of("evaluation.every", "end").interval;
  EXPECT_EQ(end.steps + end.epochs, 0);
  for (const char* text : {"500", "0 steps", "1.5 epochs", "1. epochs", "steps", "5steps", "5 stps",
                           "-5 steps", "60s", "never", "5 steps!"})
    expect_refused("evaluation.every", text, "an interval, as in \"500 steps\", \"1 epoch\" or \"end\"");
  EXPECT_EQ(value_of("checkpoint.every", "60s").interval.seconds, 60.0);
  EXPECT_EQ(value_of("checkpoint.every", "500 steps").interval.steps, 500);
  expect_refused("checkpoint.every", "sometimes", "an interval, as in \"60s\"");
}

TEST(DeckValue, CanonicalValuesReadBackTheSame) {
  for (const auto& [key, text] :
       std::vector<std::pair<std::string, std::string>>{{"checkpoint.every", "90s"},
                                                        {"evaluation.every", "1 step"},
                                                        {"optimizer.learning_rate", "3e-20"},
                                                        {"data.train.rows", "[ 1,2 ]"},
                                                        {"run.dir", "a \"b\""},
                                                        {"optimizer.nesterov", "true"}}) {
    const std::string canonical = value_of(key, text).canonical;
    EXPECT_EQ(value_of(key, canonical).canonical, canonical) << key;
  }
}

}  // namespace
}  // namespace lepton::train
