// SPDX-License-Identifier: Apache-2.0
// Splits: files, inherited arrays, and which rows they may share.
#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

std::string deck_with_data(const std::string& data) {
  return "[data]\n" + data + "\n[model]\nlayers = [{ type = \"dense\", units = 10 }]\n";
}

const std::string train = "train = { inputs = \"x\", targets = \"y\"";

TEST(DeckSplits, FileAndFilesContradict) {
  expect_error(deck_with_data("file = \"a\"\nfiles = [\"b\"]\n" + train + " }"), {}, "decks/deck.toml:3:9",
               {"data has both file and files"});
  expect_error(deck_with_data(train + ", file = \"a\", files = [\"b\"] }"), {}, "decks/deck.toml:2:60",
               {"data.train has both file and files"});
}

TEST(DeckSplits, EverySplitNeedsAFile) {
  expect_error(deck_with_data(train + " }"), {}, "decks/deck.toml:2:9",
               {"data.train has no file", "data.file"});
  expect_error(deck_with_data(train + ", file = \"a\" }\ntest = { inputs = \"x\", targets = \"y\" }"), {},
               "decks/deck.toml:3:8", {"data.test has no file"});
}

TEST(DeckSplits, EverySplitNeedsArrays) {
  expect_error(deck_with_data("file = \"a\"\n" + train + " }\ntest = {}"), {}, "decks/deck.toml:4:8",
               {"data.test.inputs is missing", "by fraction, rows, indices or mask"});
  expect_error(deck_with_data("file = \"a\"\n" + train + " }\nvalidation = { inputs = \"v\" }"), {},
               "decks/deck.toml:4:14", {"data.validation.targets is missing"});
}

TEST(DeckSplits, PartsOfTheTrainSplitInheritItsArrays) {
  const Deck deck = parse(
      deck_with_data("file = \"a\"\n" + train + ", fraction = 0.75 }\nvalidation = { fraction = 0.25 }"));
  EXPECT_EQ(deck.data.validation->inputs.front().values, "x");
  EXPECT_EQ(deck.data.validation->targets, "y");
  EXPECT_EQ(deck.data.validation->files, deck.data.train->files);
  EXPECT_EQ(deck.data.validation->fraction, 0.25);
  EXPECT_TRUE(deck.warnings.empty());
}

TEST(DeckSplits, RowsAndFractionContradict) {
  expect_error(deck_with_data("file = \"a\"\n" + train + ", rows = [0, 5], fraction = 0.5 }"), {},
               "decks/deck.toml:3:66", {"data.train has both rows and fraction"});
}

TEST(DeckSplits, ListsAndMasks) {
  const Deck deck =
      parse(deck_with_data("file = \"a\"\n" + train + ", indices = \"i\" }\nvalidation = { mask = \"m\" }"));
  EXPECT_EQ(deck.data.train->indices, "i");
  EXPECT_EQ(deck.data.validation->mask, "m");
  EXPECT_EQ(deck.data.validation->inputs.front().values, "x") << "inherited";
  EXPECT_TRUE(deck.warnings.empty()) << "whether they share rows is seen in the file";
  EXPECT_TRUE(
      parse(deck_with_data("file = \"a\"\n" + train + " }\ntest = { mask = \"m\" }")).warnings.empty());
  expect_error(deck_with_data("file = \"a\"\n" + train + ", rows = [0, 5], mask = \"m\" }"), {},
               "decks/deck.toml:3:62", {"data.train has both rows and mask"});
  expect_error(deck_with_data("file = \"a\"\n" + train + ", indices = \"i\", mask = \"m\" }"), {},
               "decks/deck.toml:3:62", {"data.train has both indices and mask"});
  expect_error(deck_with_data("file = \"a\"\n" + train + ", fraction = 0.5 }\ntest = { indices = \"i\" }"),
               {}, "decks/deck.toml:4:8", {"only one by fraction"});
}

TEST(DeckSplits, FractionsMustNotExceedOne) {
  expect_error(deck_with_data("file = \"a\"\n" + train +
                              ", fraction = 0.8 }\nvalidation = { fraction = 0.1 }\n"
                              "test = { fraction = 0.2 }"),
               {}, "decks/deck.toml:5:21", {"add up to 1.1"});
  EXPECT_NO_THROW(parse(deck_with_data("file = \"a\"\n" + train +
                                       ", fraction = 0.8 }\nvalidation = { fraction = 0.1 }\n"
                                       "test = { fraction = 0.1 }")));
  EXPECT_NO_THROW(parse(deck_with_data("file = \"a\"\n" + train +
                                       ", fraction = 0.8 }\n"
                                       "test = { inputs = \"u\", targets = \"v\", fraction = 0.9 }")));
}

TEST(DeckSplits, OneByFractionMeansAllByFraction) {
  expect_error(deck_with_data("file = \"a\"\n" + train + " }\nvalidation = { fraction = 0.1 }"), {},
               "decks/deck.toml:3:9", {"only one by fraction", "Give data.train.fraction too."});
  expect_error(deck_with_data("file = \"a\"\n" + train + ", fraction = 0.5 }\ntest = { rows = [0, 5] }"), {},
               "decks/deck.toml:4:8", {"Give data.test.fraction too."});
}

TEST(DeckSplits, RowsMustBeDisjoint) {
  expect_error(deck_with_data("file = \"a\"\n" + train + ", rows = [0, 80] }\ntest = { rows = [79, 100] }"),
               {}, "decks/deck.toml:4:17", {"data.train and data.test share rows", "are disjoint"});
  EXPECT_TRUE(
      parse(deck_with_data("file = \"a\"\n" + train + ", rows = [0, 80] }\ntest = { rows = [80, 100] }"))
          .warnings.empty());
}

TEST(DeckSplits, WarnsOfEvaluatingOnTrainingRows) {
  const Deck deck =
      parse(deck_with_data("file = \"a\"\n" + train + " }\ntest = { inputs = \"x\", targets = \"y\" }"));
  ASSERT_EQ(deck.warnings.size(), 1u);
  EXPECT_NE(deck.warnings[0].find("data.train and data.test share rows"), std::string::npos);
}

}  // namespace
}  // namespace lepton::train
