// SPDX-License-Identifier: Apache-2.0
// Inputs by name: where splits have them, and what holds for each.
#include "train/deck_inputs.h"

#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

std::string deck_with(const std::string& lines) {
  return "[data]\nfile = \"d.h5\"\n" + lines + "\n[model]\nlayers = [{ type = \"dense\", units = 10 }]\n";
}

const std::string two_inputs = "train = { inputs = { title = \"a\", body = \"b\" }, targets = \"y\" }\n";

TEST(DeckInputs, NamesInOrder) {
  const Deck deck =
      parse(deck_with(two_inputs + "test = { inputs = { body = \"d\", title = \"c\" }, targets = \"z\" }"));
  const auto& train = deck.data.train->inputs;
  ASSERT_EQ(train.size(), 2U);
  EXPECT_EQ(train[0], (data::InputArrays{"title", "a"}));
  EXPECT_EQ(train[1], (data::InputArrays{"body", "b"}));
  EXPECT_EQ(deck.data.test->inputs[0], (data::InputArrays{"title", "c"}))
      << "in the order of the train split";
  EXPECT_EQ(deck.mathematical.at("data.train.inputs"), "{ title = \"a\", body = \"b\" }");
}

TEST(DeckInputs, OneWithoutAName) {
  const Deck deck = with({});
  EXPECT_EQ(deck.data.train->inputs, (std::vector<data::InputArrays>{{"input", "x"}}));
  EXPECT_EQ(deck.mathematical.at("data.train.inputs"), "\"x\"");
  EXPECT_FALSE(deck.mathematical.contains("data.inputs"));
}

TEST(DeckInputs, WhatHoldsForEach) {
  const Deck deck =
      parse(deck_with(two_inputs + "normalize = \"unit\"\n[data.inputs.body]\nlayout = \"none\"\n"
                                   "[data.inputs.title]\nnormalize = \"standardize\""));
  const data::InputRules title = deck.data.rules("title"), body = deck.data.rules("body");
  EXPECT_EQ(title.normalisation, data::Normalisation::standardize);
  EXPECT_EQ(title.layout, data::ImageLayout::automatic);
  EXPECT_EQ(body.normalisation, data::Normalisation::unit) << "as [data] says";
  EXPECT_EQ(body.layout, data::ImageLayout::none);
  EXPECT_EQ(deck.mathematical.at("data.inputs"),
            "{ body = { layout = \"none\" }, title = { normalize = \"standardize\" } }");
}

TEST(DeckInputs, RowsWithLengthsOfTheirOwn) {
  const Deck one = with({{"data.train.lengths", "n"}, {"data.length", "9"}});
  EXPECT_EQ(one.data.train->inputs[0], (data::InputArrays{"input", "x", "n", ""}));
  EXPECT_EQ(one.data.rules("input").length, 9);
  const Deck deck =
      parse(deck_with("train = { inputs = { title = \"a\", body = \"b\" }, offsets = { body = \"o\" }, "
                      "targets = \"y\", fraction = 0.5 }\n"
                      "validation = { fraction = 0.5 }\n[data.inputs.body]\nlength = 4"));
  EXPECT_EQ(deck.data.train->inputs[0], (data::InputArrays{"title", "a", "", ""}));
  EXPECT_EQ(deck.data.train->inputs[1], (data::InputArrays{"body", "b", "", "o"}));
  EXPECT_EQ(deck.data.validation->inputs, deck.data.train->inputs);
  EXPECT_EQ(deck.data.rules("body").length, 4);
}

TEST(DeckInputs, ErrorsOfLengths) {
  const auto refused = [](const std::string& lines, const std::vector<std::string>& parts) {
    expect_error_of([&] { parse(deck_with(lines)); }, Exit::deck, parts);
  };
  const std::string train = "train = { inputs = \"x\", targets = \"y\"";
  refused(train + ", lengths = \"l\", offsets = \"o\" }", {"data.train has both lengths and offsets"});
  refused(train + ", lengths = { other = \"l\" } }",
          {"lengths or offsets of \"other\", which its inputs do not name"});
  refused(train + ", lengths = \"l\" }\ntest = { inputs = \"t\", targets = \"u\" }",
          {"in one split, but not in data.test"});
  refused(train + " }\ntest = { inputs = \"t\", targets = \"u\", lengths = \"l\" }",
          {"in one split, but not in data.train"});
  refused(train + ", lengths = \"l\" }\nsequence = 8", {"data.sequence cuts windows"});
  refused(train + " }\nlength = 8", {"data.length says nothing"});
}

TEST(DeckInputs, TheDeckAsResolvedIsTheSameDeck) {
  const Deck deck = parse(deck_with(two_inputs + "[data.inputs.body]\nlayout = \"none\""));
  const Deck again = parse(deck.resolved);
  EXPECT_EQ(again.mathematical, deck.mathematical);
  EXPECT_EQ(again.resolved, deck.resolved);
}

TEST(DeckInputs, OverridesReachOne) {
  const Deck deck =
      parse(deck_with(two_inputs), {{"data.train.inputs.body", "other"}, {"data.inputs.title.layout", "hw"}});
  EXPECT_EQ(deck.data.train->inputs[1].values, "other");
  const Deck whole = with({{"data.train.inputs", "{ z = \"1\", a = \"2\" }"}});
  EXPECT_EQ(whole.data.train->inputs[0].name, "z") << "in the order of the text";
  EXPECT_EQ(deck.data.rules("title").layout, data::ImageLayout::hw);
}

TEST(DeckInputs, Errors) {
  expect_error(deck_with("train = { inputs = {}, targets = \"y\" }"), {}, "decks/deck.toml:3:20",
               {"data.train.inputs = {} is not text, or a text for each"});
  expect_error(deck_with("train = { inputs = [\"a\"], targets = \"y\" }"), {}, "decks/deck.toml:3:20",
               {"is not text, or a text for each"});
  expect_error(deck_with("train = { inputs = { a = 3 }, targets = \"y\" }"), {}, "decks/deck.toml:3:20",
               {"is not text, or a text for each"});
  expect_error(deck_with("train = { inputs = { \"a.b\" = \"x\" }, targets = \"y\" }"), {},
               "decks/deck.toml:3:22", {"no name for an input"});
  expect_error(deck_with(two_inputs + "test = { inputs = { title = \"c\" }, targets = \"z\" }"), {},
               "decks/deck.toml:4:19",
               {"data.test.inputs names other inputs than data.train.inputs", "\"title\" or \"body\""});
  expect_error(deck_with(two_inputs + "[data.inputs.bodi]\nlayout = \"none\""), {}, "decks/deck.toml:4:1",
               {"[data.inputs.bodi] speaks of an input that", "Did you mean \"body\"?"});
  expect_error(deck_with(two_inputs + "[data.inputs.body]\nlayouts = \"none\""), {}, "decks/deck.toml:5:1",
               {"unknown key data.inputs.body.layouts", "Did you mean \"layout\"?"});
  expect_error(deck_with(two_inputs + "[data.inputs.body]\nlayout = \"hcw\""), {}, "decks/deck.toml:5:10",
               {"data.inputs.body.layout = \"hcw\" is not", "Did you mean"});
  expect_error(deck_with(two_inputs + "[data.inputs]\nbody = 3"), {}, "decks/deck.toml:5:8",
               {"is not a table for each input"});
}

}  // namespace
}  // namespace lepton::train
