// SPDX-License-Identifier: Apache-2.0
// Lists of layers: options of all types, nested lists, positions, whatever is no layer, and layers that the
// model refuses before any data are known.
#include "train/deck_layers.h"

#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

TEST(DeckLayers, ReadsOptionsNestedListsAndPositions) {
  const std::string text =
      "[data]\nfile = \"d\"\ntrain = { inputs = \"x\", targets = \"y\" }\n[model]\nlayers = [\n"
      "  { type = \"conv2d\", filters = 8, kernel = [3, 5], bias = false, l2 = 1e-4, padding = \"same\" },\n"
      "  { type = \"residual\", layers = [\n    { type = \"relu\" } ], projection = [ { type = \"dense\", "
      "units = 3 } ] "
      "},\n]\n";
  const std::vector<model::LayerSpec> layers = parse(text).model.layers;
  ASSERT_EQ(layers.size(), 2u);
  EXPECT_EQ(layers[0].type, "conv2d");
  EXPECT_EQ(layers[0].position.text(), "decks/deck.toml:6:3");
  EXPECT_EQ(std::get<int64_t>(layers[0].options.at("filters").value), 8);
  EXPECT_EQ(std::get<std::vector<int64_t>>(layers[0].options.at("kernel").value),
            (std::vector<int64_t>{3, 5}));
  EXPECT_EQ(std::get<bool>(layers[0].options.at("bias").value), false);
  EXPECT_EQ(std::get<double>(layers[0].options.at("l2").value), 1e-4);
  EXPECT_EQ(std::get<std::string>(layers[0].options.at("padding").value), "same");
  EXPECT_EQ(layers[0].options.at("filters").position.line, 6);
  ASSERT_EQ(layers[1].nested.at("layers").size(), 1u);
  EXPECT_EQ(layers[1].nested.at("layers")[0].position.text(), "decks/deck.toml:8:5");
  EXPECT_EQ(layers[1].nested.at("projection")[0].type, "dense");
  EXPECT_EQ(layers[0].options.count("type"), 0u);
}

TEST(DeckLayers, ListsOfTextsAreOptionsToo) {
  const std::string add = "{ type = \"add\", from = [\"dense_1\", \"input\"] }";
  const Deck deck = with({{"model.layers", "[{ type = \"dense\", units = 3 }, " + add + "]"}});
  EXPECT_EQ(std::get<std::vector<std::string>>(deck.model.layers[1].options.at("from").value),
            (std::vector<std::string>{"dense_1", "input"}));
  EXPECT_EQ(deck.mathematical.at("model.layers[1]"), "{ type = \"add\", from = [\"dense_1\", \"input\"] }");
  EXPECT_EQ(parse(deck.resolved).mathematical, deck.mathematical);
  expect_override_error({{"model.layers", "[{ type = \"dense\", units = 3, from = [\"input\", 1] }]"}},
                        {"is not an option of a layer"});
}

// All three change results.
TEST(DeckLayers, WhatEveryLayerTakesIsPartOfTheMathematics) {
  const auto of = [](const std::string& last) {
    return with({{"model.layers",
                  "[{ type = \"dense\", units = 3 }, { type = \"dense\", units = 3 }, { type = "
                  "\"dense\", units = 3, name = \"x\"" +
                      last + " }]"}})
        .mathematical;
  };
  for (const char* option : {", frozen = true", ", weights_of = \"dense_2\""})
    EXPECT_NE(of(option), of("")) << option;
}

TEST(DeckLayers, ArraysOfTablesAreListsToo) {
  const Deck deck = parse(
      "[data]\nfile = \"d\"\ntrain = { inputs = \"x\", targets = \"y\" }\n[[model.layers]]\ntype = "
      "\"flatten\"\n"
      "[[model.layers]]\ntype = \"dense\"\nunits = 3\n");
  ASSERT_EQ(deck.model.layers.size(), 2u);
  EXPECT_EQ(deck.model.layers[1].position.line, 6);
}

TEST(DeckLayers, CanonicalTextsAreEqualForEqualLayers) {
  const auto canonical = [](const std::string& layer) {
    return with({{"model.layers", "[" + layer + "]"}}).mathematical.at("model.layers[0]");
  };
  EXPECT_EQ(canonical("{ units = 3, type = \"dense\" }"), "{ type = \"dense\", units = 3 }");
  const std::string nested =
      "{ type = \"residual\", layers = [{ type = \"conv2d\", filters = 3, kernel = [1, 2] }, { type = "
      "\"relu\" }] }";
  EXPECT_EQ(canonical(nested), nested);
  EXPECT_NE(canonical("{ type = \"dense\", units = 3 }"), canonical("{ type = \"dense\", units = 4 }"));
}

TEST(DeckLayers, WhateverIsNoLayerIsRefused) {
  const auto refused = [](const std::string& layers, const std::vector<std::string>& parts) {
    expect_override_error({{"model.layers", layers}}, parts);
  };
  refused("dense", {"model.layers = \"dense\" is not a list of layers"});
  refused("[]", {"model.layers holds no layer"});
  refused("[3]", {"model.layers[0] = 3 is not a layer"});
  refused("[{ units = 3 }]", {"model.layers[0] = { units = 3 } has no type"});
  refused("[{ type = 3 }]", {"model.layers[0].type = 3 is not the name of a type", "lepton keys"});
  refused("[{ type = \"dense\", units = { a = 1 } }]",
          {"model.layers[0].units = { a = 1 } is not an option"});
  refused("[{ type = \"dense\", units = [1, 2.5] }]", {"model.layers[0].units = [1, 2.5] is not an option"});
  refused("[{ type = \"dense\", l2 = inf }]", {"model.layers[0].l2 = inf is not a finite number"});
  refused("[{ type = \"residual\", layers = [] }]", {"model.layers[0].layers holds no layer"});
  refused("[{ type = \"residual\", layers = [{ type = \"relu\" }, 4] }]", {"model.layers[0].layers[1] = 4"});
}

TEST(DeckLayers, WhatTheModelRefusesIsFoundWhenTheDeckIsRead) {
  const std::string head = "[data]\nfile = \"d\"\ntrain = { inputs = \"x\", targets = \"y\" }\n[model]\n";
  expect_error(head + "layers = [\n  { type = \"flatten\" },\n  { type = \"dens\", units = 3 },\n]\n", {},
               "decks/deck.toml:7:3",
               {"layer \"dens_1\"", "unknown layer type \"dens\"", "Did you mean \"dense\"?"});
  expect_error(head + "layers = [\n  { type = \"dense\", unit = 3 },\n]\n", {}, "decks/deck.toml:6:28",
               {"unknown option \"unit\" of a dense layer", "Did you mean \"units\"?"});
  expect_error(head + "layers = [\n  { type = \"dense\", units = \"3\" },\n]\n", {}, "decks/deck.toml:6:29",
               {"units = \"3\" is not an integer from 1 up"});
  expect_error(head +
                   "layers = [\n  { type = \"residual\", layers = [\n    { type = \"dropout\", rate = 1 } ] "
                   "} ]\n",
               {}, "decks/deck.toml:7:32", {"layer \"residual_1.dropout_1\"", "from 0 to below 1"});
  expect_error(head + "layers = [ { type = \"dense\", units = 3, init = \"he\" } ]\n", {},
               "decks/deck.toml:5:48", {"init = \"he\" is not one of", "\"he_normal\""});
  expect_override_error({{"model.layers", "[{ type = \"dense\" }]"}}, {"needs the option \"units\""});
}

TEST(DeckLayers, NestingHasAnEnd) {
  std::string layers = "[{ type = \"relu\" }]";
  for (int i = 0; i < 40; ++i) layers = "[{ type = \"residual\", layers = " + layers + " }]";
  expect_override_error({{"model.layers", layers}}, {"nested too deeply"});
}

}  // namespace
}  // namespace lepton::train
