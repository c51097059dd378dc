// SPDX-License-Identifier: Apache-2.0
// Whole decks: defaults, overrides, unknown and missing keys, paths, the deck as resolved, the decks of
// inputs/.
#include "train/deck.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "data/dataset_schema.h"
#include "deck_helpers.h"
#include "model/graph.h"

namespace lepton::train {
namespace {

std::string file_text(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Deck, SmallestDeckHasTheDefaults) {
  const Deck deck = parse(smallest_deck);
  EXPECT_EQ(deck.path, "decks/deck.toml");
  EXPECT_EQ(deck.run.directory, "runs/lepton");
  EXPECT_EQ(deck.run.deadline_s, 600);
  ASSERT_TRUE(deck.data.train.has_value());
  EXPECT_EQ(deck.data.train->files, std::vector<std::string>{"decks/d.h5"});
  EXPECT_EQ(deck.data.train->inputs.front().values, "x");
  EXPECT_EQ(deck.data.train->position.text(), "decks/deck.toml:3:9");
  EXPECT_EQ(deck.data.position.line, 1);
  EXPECT_FALSE(deck.data.test.has_value());
  EXPECT_TRUE(deck.data.needs_classes);
  EXPECT_EQ(deck.optimizer.rule, optim::Rule::adam);
  EXPECT_EQ(deck.optimizer.learning_rate, 1e-3);
  EXPECT_EQ(deck.evaluation.metric, "accuracy");
  EXPECT_EQ(deck.balance.policy, balance::Policy::steal);
  EXPECT_EQ(deck.balance.record_every_s, 10);
  EXPECT_EQ(deck.checkpoint.every_s, 60);
  EXPECT_TRUE(deck.warnings.empty());
}

TEST(Deck, UnitSizeShrinksToTheBatchUnlessGiven) {
  EXPECT_EQ(with({{"train.batch_size", "16"}}).train.unit_size, 16);
  EXPECT_EQ(with({{"train.batch_size", "16"}}).mathematical.at("train.unit_size"), "16");
  EXPECT_EQ(with({{"train.batch_size", "64"}}).train.unit_size, 32);
}

TEST(Deck, UnknownKeysNameTheNearest) {
  expect_error_behind("[trian]\nepochs = 1\n", "decks/deck.toml:6:2", {"unknown key trian", "\"train\""});
  expect_error_behind("[train]\nepoch = 1\n", "decks/deck.toml:7:1",
                      {"unknown key train.epoch", "Did you mean \"epochs\"?", "\"batch_size\""});
  expect_error_behind("[run]\nepochs = 1\n", "decks/deck.toml:7:1", {"Did you mean \"train.epochs\"?"});
  expect_error_behind("[train.more]\n", "decks/deck.toml:6:8", {"unknown key train.more"});
  expect_override_error({{"data.train.input", "x"}}, {"unknown key data.train.input", "\"inputs\""});
}

TEST(Deck, TheFirstUnknownKeyOfTheFileIsNamed) {
  expect_error_behind("[train]\nzzz = 1\naaa = 2\n", "decks/deck.toml:7:1", {"train.zzz"});
}

TEST(Deck, TablesMustBeTables) {
  expect_error("data = 3\n", {}, "decks/deck.toml:1:8", {"data = 3 is not a table", "[data]"});
  expect_error_behind("[[train]]\nepochs = 1\n", "decks/deck.toml:6:1", {"is not a table"});
}

TEST(Deck, MissingKeys) {
  expect_error("", {}, "decks/deck.toml", {"data.train.inputs is missing"});
  expect_error(
      "[data]\nfile = \"d\"\ntrain = { inputs = \"x\" }\n[model]\nlayers = [{ type = \"flatten\" }]\n", {},
      "decks/deck.toml:3:9", {"data.train.targets is missing"});
  expect_error("[data]\nfile = \"d\"\ntrain = { inputs = \"x\", targets = \"y\" }\n", {}, "decks/deck.toml",
               {"model.layers is missing", "a list of layers"});
}

TEST(Deck, WithoutTargetsASequencesAreItsNextElements) {
  const char* text =
      "[data]\nfile = \"d\"\nsequence = 8\ntrain = { inputs = \"x\", fraction = 0.9 }\n"
      "validation = { fraction = 0.1 }\ntest = { inputs = \"x\", file = \"e\", targets = \"y\" }\n"
      "[model]\nlayers = [{ type = \"flatten\" }]\n";
  const Deck deck = parse(text);
  EXPECT_EQ(deck.data.sequence, 8);
  EXPECT_TRUE(deck.data.train->next && deck.data.validation->next);
  EXPECT_FALSE(deck.data.test->next);
}

TEST(Deck, OverridesReplaceAndAdd) {
  const Deck deck = with({{"train.epochs", "7"},
                          {"data.train.inputs", "other/x"},
                          {"data.test", "{ inputs = \"tx\", targets = \"ty\" }"},
                          {"model.layers", "[{ type = \"dense\", units = 3 }]"},
                          {"run.dir", "2024"}});
  EXPECT_EQ(deck.train.epochs, 7);
  EXPECT_EQ(deck.data.train->inputs.front().values, "other/x");
  EXPECT_EQ(deck.data.train->targets, "y");
  EXPECT_EQ(deck.data.test->targets, "ty");
  EXPECT_EQ(deck.data.test->files, std::vector<std::string>{"decks/d.h5"});
  EXPECT_EQ(deck.mathematical.at("model.layers[0]"), "{ type = \"dense\", units = 3 }");
  EXPECT_EQ(deck.run.directory, "2024");
  EXPECT_EQ(with({{"train.epochs", "7"}, {"train.epochs", "8"}}).train.epochs, 8);
}

TEST(Deck, PathsAreRelativeToTheDeckAndOverridesToTheWorkingDirectory) {
  EXPECT_EQ(with({{"data.file", "there/e.h5"}}).data.train->files, std::vector<std::string>{"there/e.h5"});
  EXPECT_EQ(with({{"data.files", "[\"a.h5\", \"/abs/b-*.h5\"]"}}).data.train->files,
            (std::vector<std::string>{"a.h5", "/abs/b-*.h5"}));
  const Deck deck = parse(
      "[data]\nfiles = [\"../a.h5\", \"/b.h5\"]\ntrain = { inputs = \"x\", targets = \"y\" }\n"
      "test = { inputs = \"x\", targets = \"y\", file = \"t.h5\" }\n[model]\nlayers = [{ type = \"flatten\" "
      "}]\n");
  EXPECT_EQ(deck.data.train->files, (std::vector<std::string>{"a.h5", "/b.h5"}));
  EXPECT_EQ(deck.data.test->files, std::vector<std::string>{"decks/t.h5"});
}

TEST(Deck, CheckpointsByThemselves) {
  EXPECT_FALSE(with({}).checkpoint.automatic);
  const Deck deck = with({{"checkpoint.every", "auto"}});
  EXPECT_TRUE(deck.checkpoint.automatic);
  EXPECT_EQ(deck.checkpoint.every_s, 0);
  expect_error_behind("[checkpoint]\nevery = \"automatic\"\n", "decks/deck.toml:7:9",
                      {"\"60s\"", "or \"auto\""});
}

TEST(Deck, ResolvedRoundTrips) {
  const std::string text =
      "[run]\nseed = 3\n[data]\nfile = \"d.h5\"\nnormalize = \"standardize\"\n"
      "train = { inputs = \"x\\\"\\\\\", targets = \"y\", fraction = 0.75 }\nvalidation = { fraction = 0.25 "
      "}\n"
      "[model]\nloss = \"huber\"\nhuber_delta = 0.1\nlayers = [{ type = \"residual\", layers = [{ type = "
      "\"relu\" }], "
      "projection = [] }, { units = 1, type = \"dense\", activation = \"relu\" }]\n"
      "[optimizer]\ntype = \"sgd\"\nmomentum = 0.9\nnesterov = true\n[schedule]\ntype = \"cosine\"\nsteps = "
      "10\n"
      "[checkpoint]\nevery = \"5 steps\"\n[evaluation]\npatience = 3\n";
  // An empty projection is a list of layers that holds none, which is refused; give it one.
  std::string good = text;
  good.replace(good.find("projection = []"), 15,
               "projection = [{ type = \"conv2d\", filters = 1, kernel = [1, 1] }]");
  expect_error(text, {}, "decks/deck.toml:11:75", {"projection holds no layer"});
  const Deck deck = parse(good);
  const Deck again = parse_deck("/elsewhere/deck.toml", deck.resolved, {});
  EXPECT_EQ(again.mathematical, deck.mathematical);
  EXPECT_EQ(again.operational, deck.operational);
  EXPECT_EQ(again.resolved, deck.resolved);
  EXPECT_EQ(again.optimizer.momentum, 0.9);
  EXPECT_EQ(again.data.train->inputs.front().values, "x\"\\");
  EXPECT_TRUE(std::filesystem::path(again.data.train->files[0]).is_absolute());
}

TEST(Deck, OperationalKeysLeaveTheMathematicsAlone) {
  const Deck deck = parse(smallest_deck);
  for (const Override& o : std::vector<Override>{{"train.epochs", "9"},
                                                 {"train.threads", "2"},
                                                 {"run.dir", "elsewhere"},
                                                 {"data.file", "moved.h5"},
                                                 {"balance.policy", "static"},
                                                 {"checkpoint.every", "end"}}) {
    EXPECT_EQ(with({o}).mathematical, deck.mathematical) << o.key;
    EXPECT_NE(with({o}).operational, deck.operational) << o.key;
  }
  for (const Override& o : std::vector<Override>{{"run.seed", "9"},
                                                 {"train.batch_size", "64"},
                                                 {"optimizer.learning_rate", "0.1"},
                                                 {"data.normalize", "unit"}}) {
    EXPECT_NE(with({o}).mathematical, deck.mathematical) << o.key;
    EXPECT_EQ(with({o}).operational, deck.operational) << o.key;
  }
}

TEST(Deck, EqualMathematicsHaveEqualTexts) {
  EXPECT_EQ(with({{"optimizer.learning_rate", "1e-2"}}).mathematical,
            with({{"optimizer.learning_rate", "0.010"}}).mathematical);
  EXPECT_EQ(with({{"model.l2", "1.0"}}).mathematical, with({{"model.l2", "1"}}).mathematical);
}

TEST(Deck, ScheduleStepsAreResolvedOnce) {
  Deck deck = with({{"schedule.type", "cosine"}, {"train.epochs", "5"}});
  EXPECT_EQ(deck.optimizer.schedule.steps, 0);
  resolve_schedule_steps(deck, 100);
  EXPECT_EQ(deck.optimizer.schedule.steps, 500);
  EXPECT_EQ(parse(deck.resolved).optimizer.schedule.steps, 500);
  Deck longer = with({{"schedule.type", "cosine"}, {"train.epochs", "9"}});
  resolve_schedule_steps(longer, 100, 500);
  EXPECT_EQ(longer.mathematical, deck.mathematical);
  Deck given = with({{"schedule.type", "polynomial"}, {"schedule.steps", "70"}});
  resolve_schedule_steps(given, 100, 500);
  EXPECT_EQ(given.optimizer.schedule.steps, 70);
  Deck constant = parse(smallest_deck);
  resolve_schedule_steps(constant, 100);
  EXPECT_EQ(constant.optimizer.schedule.steps, 0);
}

TEST(Deck, WarmUpMustFitTheResolvedSchedule) {
  Deck deck = with({{"schedule.type", "cosine"}, {"schedule.warmup_steps", "100"}});
  try {
    resolve_schedule_steps(deck, 100);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_EQ(error.where(), "--set schedule.warmup_steps");
    EXPECT_NE(std::string(error.what()).find("warmup_steps = 100"), std::string::npos);
  }
}

/// What each deck of inputs/ is meant for: the shape of its stored inputs, its outputs, at how many
/// positions.
struct Meant {
  Shape inputs;
  int64_t outputs, positions = 1;
  std::vector<model::NamedShape> named = {};  ///< as the network gets them, where there are several
  int64_t nodes = 0;                          ///< of the graph
};
const std::map<std::string, Meant> meant_for = {
    {"cifar10_resnet20.toml", {{10000, 3, 32, 32}, 10}},
    {"digits.toml", {{1438, 8, 8}, 10}},
    {"digits_finetune.toml", {{120, 8, 8}, 10}},
    {"friedman_regression.toml", {{5000, 10}, 1}},
    {"mnist_lenet.toml", {{60000, 28, 28}, 10}},
    {"mnist_mlp.toml", {{60000, 28, 28}, 10}},
    {"shakespeare_gpt.toml", {{1000, 64}, 65, 64}},
    {"citeseer_gcn.toml", {{1, 30, 37}, 6, 30, {}, 30}},
    {"polarity_cnn.toml", {{100, 61}, 2}},
    {"polarity_lstm.toml", {{}, 2, 1, {{"input", {61}}, {"input.length", {1}}}}},
    {"ratings_recommender.toml", {{}, 1, 1, {{"user", {1}}, {"item", {1}}}}},
    {"shapes_unet.toml", {{100, 64, 64}, 3, 64 * 64}},
    {"table_wide_and_deep.toml", {{}, 1, 1, {{"numbers", {6}}, {"categories", {3}}}}},
    {"volumes_cosmoflow.toml", {{100, 64, 64, 64}, 4}},
};

const std::filesystem::path inputs = std::filesystem::path(__FILE__).parent_path() / "../../inputs";

TEST(Deck, AllDecksOfInputsGiveAGraphForTheirData) {
  for (const auto& entry : std::filesystem::directory_iterator(inputs)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".toml" || name == "digits_onnx.toml")
      continue;  // whose file is made elsewhere
    ASSERT_TRUE(meant_for.contains(name)) << name << ": say here what data it is meant for";
    const Deck deck = parse_deck(entry.path().string(), file_text(entry.path()), {});
    const Meant& meant = meant_for.at(name);
    storage::ArrayInfo array;
    array.shape = meant.inputs;
    model::ModelSpec spec = deck.model;
    spec.inputs = meant.named;
    if (meant.named.empty()) spec.input = data::input_schema(array, deck.data.layout).shape;
    spec.outputs = meant.outputs;
    spec.positions = meant.positions;
    if (meant.nodes > 0) {
      const std::vector<int64_t> starts(static_cast<size_t>(meant.nodes) + 1, 0);
      spec.adjacency = std::make_shared<const ops::SparseMatrix>(
          ops::SparseMatrix{meant.nodes, meant.nodes, starts, {}, {}});
    }
    try {
      EXPECT_EQ(model::build_graph(spec).outputs(), spec.outputs * spec.positions) << name;
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

TEST(Deck, AllDecksOfInputsParse) {
  int decks = 0;
  for (const auto& entry : std::filesystem::directory_iterator(inputs)) {
    if (entry.path().extension() != ".toml") continue;
    ++decks;
    const Deck deck = parse_deck(entry.path().string(), file_text(entry.path()), {});
    EXPECT_TRUE(deck.warnings.empty()) << entry.path();
    EXPECT_EQ(parse_deck("x/y.toml", deck.resolved, {}).mathematical, deck.mathematical) << entry.path();
  }
  EXPECT_GE(decks, 5);
}

TEST(Deck, ANetworkComesAsLayersOrAsAFile) {
  const Deck deck = parse(smallest_file_deck);
  EXPECT_EQ(deck.network.path, "decks/n.onnx");
  EXPECT_TRUE(deck.model.layers.empty());
  EXPECT_NE(deck.resolved.find("decks/n.onnx\""), std::string::npos) << deck.resolved;
  EXPECT_EQ(deck.resolved.find("layers"), std::string::npos) << deck.resolved;
  EXPECT_EQ(parse(deck.resolved).network.path, std::filesystem::absolute("decks/n.onnx").string());
  expect_override_error({{"model.onnx", "n.onnx"}}, {"model.onnx and model.layers are two networks"});
  expect_override_error({{"model.onnx_weights", "file"}}, {"model.onnx_weights says nothing without"});
  expect_override_error({{"model.onnx_frozen", "[\"a\"]"}}, {"model.onnx_frozen says nothing without"});
  expect_error("[data]\nfile = \"d.h5\"\ntrain = { inputs = \"x\", targets = \"y\" }\n[model]\nl2 = 1\n", {},
               "decks/deck.toml:4:1", {"model.layers is missing", "model.onnx"});
}

}  // namespace
}  // namespace lepton::train
