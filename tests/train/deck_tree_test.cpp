// SPDX-License-Identifier: Apache-2.0
// TOML to trees: positions, order, overrides, texts that read back, and every error of the syntax.
#include "train/deck_tree.h"

#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

const SourcePosition here = {"--set a.b", 0, 0};

TEST(DeckTree, PositionsAreThoseOfTheFile) {
  const DeckNode root = parse_deck_text("d.toml", "[b]\nx = 1\ny = [\n  2.5,\n]\n[a.c]\n");
  EXPECT_EQ(root.at("b.x")->position.text(), "d.toml:2:5");
  EXPECT_EQ(root.at("b.x")->key_position.text(), "d.toml:2:1");
  EXPECT_EQ(root.at("b.y")->children.front().position.text(), "d.toml:4:3");
  EXPECT_EQ(root.children.front().key, "b");  // the order of the file, not of names
  EXPECT_EQ(root.at("a")->position.line, 6);
  EXPECT_EQ(root.at("b.z"), nullptr);
  EXPECT_EQ(root.at("b.x.z"), nullptr);
}

/// Columns of syntax errors are toml++'s affair and differ between its versions; lines do not.
void expect_syntax_error(const std::string& text, int line, const std::string& part) {
  try {
    parse_deck_text("d.toml", text);
    ADD_FAILURE() << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_TRUE(error.where().starts_with("d.toml:" + std::to_string(line) + ":")) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(DeckTree, SyntaxErrorsNameThePlace) {
  expect_syntax_error("[data\n", 1, "not TOML");
  expect_syntax_error("[run]\nseed = 1\nseed = 2\n", 3, "'seed'");
  expect_syntax_error("[run]\ndir = runs\n", 2, "texts stand in quotes");
  expect_syntax_error("[run]\nseed = 1979-05-27\n", 2, "a date or time");
}

TEST(DeckTree, BareWordsOfOverridesAreText) {
  EXPECT_EQ(parse_deck_value("12", here).kind, DeckNode::Kind::integer);
  EXPECT_EQ(parse_deck_value("1e-3", here).kind, DeckNode::Kind::number);
  EXPECT_EQ(parse_deck_value("true", here).kind, DeckNode::Kind::boolean);
  EXPECT_EQ(parse_deck_value("[1, 2]", here).kind, DeckNode::Kind::list);
  EXPECT_EQ(parse_deck_value("{ a = 1 }", here).kind, DeckNode::Kind::table);
  for (const char* text : {"adam", "../data/x.h5", "60s", "1979-05-27", "500 steps", "", "1\nb = 2"}) {
    const DeckNode node = parse_deck_value(text, here);
    EXPECT_EQ(node.kind, DeckNode::Kind::text) << text;
    EXPECT_EQ(node.text, text);
    EXPECT_EQ(node.position.text(), "--set a.b");
  }
  EXPECT_EQ(parse_deck_value("\"quoted\"", here).text, "quoted");
}

TEST(DeckTree, BrokenStructuredOverridesAreErrors) {
  expect_override_error({{"data.train.rows", "[0, 10"}}, {"is not TOML", "--set 'data.train.rows=[0, 100]'"});
  expect_override_error({{"run.dir", "\"open"}}, {"is not TOML"});
}

TEST(DeckTree, OverridesMakeAndReplace) {
  DeckNode root = parse_deck_text("d.toml", "[a]\nb = 1\nfiles = [\"x\"]\n");
  apply_override(root, {"a.b", "2"});
  apply_override(root, {"new.table.key", "word"});
  apply_override(root, {"a.file", "y"});
  EXPECT_EQ(root.at("a.b")->integer, 2);
  EXPECT_EQ(root.at("a.b")->position.text(), "--set a.b");
  EXPECT_EQ(root.at("new.table.key")->text, "word");
  EXPECT_EQ(root.at("a.files"), nullptr) << "file replaces files";
  apply_override(root, {"a.files", "[\"z\"]"});
  EXPECT_EQ(root.at("a.file"), nullptr) << "files replaces file";
}

TEST(DeckTree, BadOverridePathsAreErrors) {
  expect_override_error({{"run..dir", "x"}}, {"\"run..dir\" is not a key", "names joined by points"});
  expect_override_error({{"run.d r", "x"}}, {"is not a key"});
  expect_override_error({{"model.layers.0", "x"}},
                        {"model.layers is not a table", "Set model.layers as a whole"});
}

TEST(DeckTree, TextsReadBack) {
  for (const char* text : {"1", "-7", "0.1", "1e-300", "true", "\"a\\\"b\\\\c\\u0001\\u007F\"",
                           "[1, [2.5], \"x\"]", "{ a = 1, \"b c\" = {} }"}) {
    const DeckNode node = parse_deck_value(text, here);
    EXPECT_EQ(toml_text(parse_deck_value(toml_text(node), here)), toml_text(node)) << text;
  }
  EXPECT_EQ(toml_text(0.1), "0.1");
  EXPECT_EQ(toml_text(1.0), "1");
  EXPECT_EQ(toml_key("a-b"), "a-b");
  EXPECT_EQ(toml_key("a b"), "\"a b\"");
}

}  // namespace
}  // namespace lepton::train
