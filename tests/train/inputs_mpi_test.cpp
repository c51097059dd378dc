// SPDX-License-Identifier: Apache-2.0
// Training on several inputs with transforms and rows with lengths of their own: the same ledger on nodes of
// any number of ranks, through a device and after a restart; draws of random transforms follow the epoch.
#include <gtest/gtest.h>

#include "small_runs.h"

namespace lepton::train {
namespace {

const std::vector<Override> many = {
    {"data.train.inputs", "{ image = \"train/images\", hot = \"train/one_hot\" }"},
    {"data.train.lengths", "{ hot = \"train/labels\" }"},  // from 0 to 3 of 4
    {"data.test.inputs", "{ hot = \"test/one_hot\", image = \"test/images\" }"},
    {"data.test.lengths", "{ hot = \"test/labels\" }"},
    {"data.inputs.image.transforms",
     "[{ type = \"log1p\" }, { type = \"random_flip\" }, { type = \"random_crop\", padding = 1 }]"}};

Options options_of(const SmallRuns& runs, const std::string& run, std::vector<Override> more = {}) {
  more.insert(more.begin(), many.begin(), many.end());
  return runs.options("dense.toml", run, more);
}

TEST(Inputs, TheSameLedgerOnAnyNodesAndDevices) {
  const SmallRuns runs;
  ASSERT_EQ(runs.train(options_of(runs, "one")), Exit::done);
  for (const int ranks_per_node : {1, 2}) {
    const std::string run = "nodes-of-" + std::to_string(ranks_per_node);
    ASSERT_EQ(runs.train(options_of(runs, run), ranks_per_node), Exit::done);
    EXPECT_EQ(runs.ledger(run), runs.ledger("one")) << ranks_per_node;
  }
  ASSERT_EQ(runs.train(options_of(runs, "device", {{"train.device", "\"debug\""}}), 1), Exit::done);
  EXPECT_EQ(runs.ledger("device"), runs.ledger("one"));
}

TEST(Inputs, ARestartDrawsWhatTheEpochDraws) {
  const SmallRuns runs;
  ASSERT_EQ(runs.train(options_of(runs, "whole")), Exit::done);
  Options half = options_of(runs, "halves");
  half.max_steps = 7;  // within the second of three epochs
  ASSERT_EQ(runs.train(half), Exit::done);
  ASSERT_EQ(runs.train(options_of(runs, "halves"), 1), Exit::done);
  EXPECT_EQ(runs.ledger("halves"), runs.ledger("whole"));
}

TEST(Inputs, RandomTransformsAreDrawnAnew) {
  const SmallRuns runs;
  const std::vector<Override> still = {{"data.inputs.image.transforms", "[{ type = \"log1p\" }]"}};
  ASSERT_EQ(runs.train(options_of(runs, "random")), Exit::done);
  ASSERT_EQ(runs.train(options_of(runs, "still", still)), Exit::done);
  EXPECT_NE(runs.ledger("still"), runs.ledger("random"));
  ASSERT_EQ(runs.train(options_of(runs, "seed", {{"run.seed", "4"}})), Exit::done);
  EXPECT_NE(runs.ledger("seed"), runs.ledger("random"));
}

TEST(Inputs, CropsToASizeAreTheSameOnAnyNodesAndDevices) {
  const SmallRuns runs;
  const auto crop = [&](const std::string& run, const std::string& options, std::vector<Override> more = {}) {
    more.push_back(
        {"data.transforms", "[{ type = \"random_crop\", " + options + " }, { type = \"random_flip\" }]"});
    return runs.options("conv.toml", run, more);
  };
  const std::string size = "size = [4, 5], padding = 1";
  ASSERT_EQ(runs.train(crop("one", size)), Exit::done);
  for (const int ranks_per_node : {1, 2}) {
    const std::string run = "nodes-of-" + std::to_string(ranks_per_node);
    ASSERT_EQ(runs.train(crop(run, size), ranks_per_node), Exit::done);
    EXPECT_EQ(runs.ledger(run), runs.ledger("one")) << ranks_per_node;
  }
  ASSERT_EQ(runs.train(crop("device", size, {{"train.device", "\"debug\""}}), 1), Exit::done);
  EXPECT_EQ(runs.ledger("device"), runs.ledger("one"));
  ASSERT_EQ(runs.train(crop("unpadded", "size = [4, 5]")), Exit::done);
  EXPECT_NE(runs.ledger("unpadded"), runs.ledger("one"));
  std::string message;
  EXPECT_EQ(runs.code_of(crop("large", "size = 7"), &message), static_cast<int>(Exit::deck));
  EXPECT_NE(message.find("random_crop is to leave 7 points of a side, samples are [1, 6, 6]"),
            std::string::npos)
      << message;
}

TEST(Inputs, AMaskKeepsItsZeros) {
  const SmallRuns runs;
  const auto code = [&](const char* key, const char* value, std::string* message) {
    std::vector<Override> deck = {
        {"data.train.inputs", "{ tokens = \"train/one_hot\", mask = \"train/one_hot\" }"},
        {"data.test.inputs", "{ tokens = \"test/one_hot\", mask = \"test/one_hot\" }"},
        {"data.normalize", "\"none\""},
        {"model.layers",
         "[{ type = \"embedding\", rows = 2, width = 4 }, { type = \"attention\", heads = 1, "
         "from = [\"embedding_1\", \"mask\"] }, { type = \"flatten\" }, { type = \"dense\", units = 4 }]"}};
    deck.push_back({key, value});
    Options options = runs.options("dense.toml", "masked", deck);
    options.max_steps = 1;
    options.fresh = true;
    return runs.code_of(options, message);
  };
  std::string message;
  for (const char* kept : {"[{ type = \"scale\", factor = 0.5 }]", "[{ type = \"log1p\" }]",
                           "[{ type = \"clip\", low = 0, high = 1 }]"})
    EXPECT_EQ(code("data.inputs.mask.transforms", kept, &message), static_cast<int>(Exit::done)) << message;
  for (const char* lost :
       {"[{ type = \"scale\", offset = -0.5 }]", "[{ type = \"clip\", low = 0.1, high = 1 }]"}) {
    EXPECT_EQ(code("data.inputs.mask.transforms", lost, &message), static_cast<int>(Exit::deck)) << lost;
    EXPECT_NE(message.find("attention's mask is 0 where nobody looks"), std::string::npos) << message;
  }
  EXPECT_EQ(code("data.inputs.mask.normalize", "\"standardize\"", &message), static_cast<int>(Exit::deck));
  EXPECT_NE(message.find("normalize = \"none\" in [data.inputs.mask]"), std::string::npos) << message;
}

TEST(Inputs, ListedRowsTrainAsTheSameRowsByRange) {
  const SmallRuns runs;
  ASSERT_EQ(runs.train(runs.options("dense.toml", "range", {{"data.train.rows", "[20, 120]"}})), Exit::done);
  for (const auto& [run, ranks_per_node, key, path] :
       {std::tuple("listed", 1, "indices", "train/listed"), std::tuple("masked", 2, "mask", "train/mask")}) {
    const std::vector<Override> listed = {{std::string("data.train.") + key, path}};
    ASSERT_EQ(runs.train(runs.options("dense.toml", run, listed), ranks_per_node), Exit::done);
    EXPECT_EQ(runs.ledger(run), runs.ledger("range")) << key;
    EXPECT_EQ(runs.metrics(run, "test").size(), 3U);
  }
}

}  // namespace
}  // namespace lepton::train
