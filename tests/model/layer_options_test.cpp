// SPDX-License-Identifier: Apache-2.0
// Every kind of option: value, default, and what is said of a wrong, missing or unknown one.
#include "model/layer_options.h"

#include <cmath>

#include "model/networks.h"

namespace lepton::model {

namespace {

const std::vector<OptionRow> rows = {{"count", "integer", "", ""},    {"rate", "number", "0.5", ""},
                                     {"flag", "boolean", "true", ""}, {"mode", "name", "a", ""},
                                     {"size", "n | [h, w]", "2", ""}, {"shape", "[...]", "", ""}};

template <class Read>
void expect_error(const Options& given, Read read, const std::string& where, const std::string& text) {
  const LayerSpec spec = layer("thing", given);
  try {
    const LayerOptions options(spec, "thing_1", rows, {"layers"});
    read(options);
    ADD_FAILURE() << "no error, but expected: " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_EQ(error.where(), where);
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

const auto nothing = [](const LayerOptions&) {};

}  // namespace

TEST(LayerOptions, ReadsWhatIsGiven) {
  const LayerSpec spec = layer("thing", {{"count", 7},
                                         {"rate", 1},
                                         {"flag", false},
                                         {"mode", "b"},
                                         {"size", List{3, 4}},
                                         {"shape", List{1, -1}}});
  const LayerOptions options(spec, "thing_1", rows, {});
  EXPECT_EQ(options.integer("count", 0, 1), 7);
  EXPECT_EQ(options.required_integer("count", 7), 7);
  EXPECT_EQ(options.number("rate", 0.5, 0, 2), 1.0);  // an integer where a number is expected
  EXPECT_EQ(options.positive_number("rate", 0.5), 1.0);
  EXPECT_FALSE(options.boolean("flag", true));
  EXPECT_EQ(options.choice("mode", "a", {"a", "b"}), "b");
  EXPECT_EQ(options.extent("size", {2, 2}, 1), (Extent{3, 4}));
  EXPECT_EQ(options.required_integers("shape"), (List{1, -1}));
  EXPECT_TRUE(options.is_text("mode"));
  EXPECT_FALSE(options.is_text("size"));
  EXPECT_EQ(options.position("rate").column, 101);
}

TEST(LayerOptions, DefaultsWhereNothingIsGiven) {
  const LayerSpec spec = layer("thing");
  const LayerOptions options(spec, "thing_1", rows, {});
  EXPECT_EQ(options.integer("count", 3, 1), 3);
  EXPECT_EQ(options.number("rate", 0.5, 0, 1), 0.5);
  EXPECT_EQ(options.positive_number("rate", 0.25), 0.25);
  EXPECT_TRUE(options.boolean("flag", true));
  EXPECT_EQ(options.choice("mode", "a", {"a", "b"}), "a");
  EXPECT_EQ(options.extent("size", {2, 3}, 1), (Extent{2, 3}));
  EXPECT_EQ(options.position("rate").column, 5);  // the layer's
}

TEST(LayerOptions, OneIntegerStandsForBothDirections) {
  const LayerSpec spec = layer("thing", {{"size", 5}});
  EXPECT_EQ(LayerOptions(spec, "thing_1", rows, {}).required_extent("size", 2, 1), (Extent{5, 5}));
}

TEST(LayerOptions, UnknownOptionNamesTheNearest) {
  expect_error({{"cuont", 1}}, nothing, "deck.toml:1:100", "unknown option \"cuont\" of a thing layer");
  expect_error({{"cuont", 1}}, nothing, "deck.toml:1:100", "Did you mean \"count\"?");
  expect_error({{"layers", 1}}, nothing, "deck.toml:1:100", "\"layers\" must be a list of layers, not 1");
}

TEST(LayerOptions, UnknownListOfLayers) {
  LayerSpec spec = layer("thing");
  spec.nested["layer"] = {};
  try {
    const LayerOptions options(spec, "thing_1", rows, {"layers"});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("unknown list of layers \"layer\""), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("Did you mean \"layers\"?"), std::string::npos) << error.what();
  }
}

TEST(LayerOptions, Integers) {
  const auto read = [](const LayerOptions& options) { options.required_integer("count", 2); };
  expect_error({}, read, "deck.toml:1:5", "a thing layer needs the option \"count\"");
  expect_error({{"count", 1}}, read, "deck.toml:1:100", "count = 1 is not an integer from 2 up");
  expect_error({{"count", 2.5}}, read, "deck.toml:1:100", "count = 2.5 is not an integer");
  expect_error({{"count", "x"}}, read, "deck.toml:1:100", "count = \"x\" is not an integer");
  expect_error({{"count", int64_t{1} << 40}}, read, "deck.toml:1:100", "is not an integer");
}

TEST(LayerOptions, Numbers) {
  const auto below = [](const LayerOptions& options) { options.number("rate", 0.5, 0, 1); };
  expect_error({{"rate", 1}}, below, "deck.toml:1:100", "rate = 1 is not a number from 0 to below 1");
  expect_error({{"rate", -0.5}}, below, "deck.toml:1:100", "rate = -0.5 is not a number from 0 to below 1");
  expect_error({{"rate", true}}, below, "deck.toml:1:100", "rate = true is not a number");
  expect_error({{"rate", std::nan("")}}, below, "deck.toml:1:100", "is not a number from 0");
  const auto open = [](const LayerOptions& options) { options.number("rate", 0.5, 0); };
  expect_error({{"rate", -1}}, open, "deck.toml:1:100", "rate = -1 is not a number from 0 up");
  const auto positive = [](const LayerOptions& options) { options.positive_number("rate", 0.5); };
  expect_error({{"rate", 0}}, positive, "deck.toml:1:100", "rate = 0 is not a number above 0");
}

TEST(LayerOptions, OtherKinds) {
  expect_error(
      {{"flag", 1}}, [](const LayerOptions& options) { options.boolean("flag", true); }, "deck.toml:1:100",
      "flag = 1 is not true or false");
  const auto choice = [](const LayerOptions& options) { options.choice("mode", "a", {"same", "valid"}); };
  expect_error({{"mode", "sane"}}, choice, "deck.toml:1:100",
               "mode = \"sane\" is not one of \"same\", \"valid\"");
  expect_error({{"mode", "sane"}}, choice, "deck.toml:1:100", "Did you mean \"same\"?");
  expect_error({{"mode", 3}}, choice, "deck.toml:1:100", "mode = 3 is not one of");
  const auto extent = [](const LayerOptions& options) { options.required_extent("size", 2, 1); };
  expect_error({}, extent, "deck.toml:1:5", "needs the option \"size\"");
  expect_error({{"size", 0}}, extent, "deck.toml:1:100",
               "size = 0 is not an integer from 1 up, or two of them");
  expect_error({{"size", List{1, 2, 3}}}, extent, "deck.toml:1:100", "size = [1, 2, 3] is not");
  expect_error({{"size", List{1, 0}}}, extent, "deck.toml:1:100", "size = [1, 0] is not");
  const auto list = [](const LayerOptions& options) { options.required_integers("shape"); };
  expect_error({}, list, "deck.toml:1:5", "needs the option \"shape\"");
  expect_error({{"shape", 3}}, list, "deck.toml:1:100", "shape = 3 is not a list of integers");
  expect_error({{"shape", List{}}}, list, "deck.toml:1:100", "shape = [] is not a list of integers");
}

}  // namespace lepton::model
