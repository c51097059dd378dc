// SPDX-License-Identifier: Apache-2.0
// The report of `simulate` on any number of ranks, of which one works: figures that can be worked out by
// hand, sizes, warnings, a measuring run, and errors with one code everywhere.
#include "train/simulate.h"

#include <gtest/gtest.h>

#include "errors.h"
#include "simulations.h"
#include "train/commands.h"

namespace lepton::train {
namespace {

using Json = nlohmann::ordered_json;

class Simulate : public Simulations {
 protected:
  Json report(const std::vector<int64_t>& sizes, const std::vector<Override>& overrides = {},
              const std::string& cluster_lines = cluster_text,
              const std::optional<Calibration>& calibration = std::nullopt) const {
    const LoadedDeck loaded(world_, options(overrides));
    return simulate_report(loaded.deck, loaded.dataset, loaded.graph, parse_cluster("c.toml", cluster_lines),
                           calibration, sizes, 2);
  }
  void expect_error(const Options& options, Exit code, const std::string& part) const {
    ::testing::internal::CaptureStdout();
    const auto error = expect_error_of([&] { simulate(world_, options); }, code, {part});
    EXPECT_TRUE(error && error->agreed()) << part;
    ::testing::internal::GetCapturedStdout();
  }
};

TEST_F(Simulate, OneNodeTakesWhatItsUnitsSay) {
  const Json size = report({2})["sizes"][0];
  EXPECT_EQ(size["ranks"], 2);
  EXPECT_EQ(size["machines"], 1);
  EXPECT_EQ(size["nodes"], 1);
  EXPECT_EQ(size["threads"], 4);
  EXPECT_EQ(size["units_per_thread"], 5);
  EXPECT_NEAR(size["step"]["units_s"].get<double>(), 0.05, 1e-9);
  EXPECT_NEAR(size["efficiency"]["units"].get<double>(), 1, 1e-9);
  const double step_s = size["step"]["seconds"];
  EXPECT_GT(step_s, 0.05);
  EXPECT_NEAR(size["efficiency"]["step"].get<double>(), 0.05 / step_s, 1e-9);
  EXPECT_NEAR(size["samples_per_second"].get<double>(), 40 / step_s, 1e-6);
  // Three epochs of two steps with 20 units and one with 5, and 15 units evaluated at a third of the time.
  const double end_s = step_s - 0.05;
  EXPECT_NEAR(size["run"]["seconds"].get<double>(), 3 * (0.1 + 0.0125 + 3 * end_s) + 15 * 0.0025 / 3, 1e-9);
  EXPECT_NEAR(size["run"]["node_hours"].get<double>(), size["run"]["seconds"].get<double>() / 3600, 1e-12);
}

TEST_F(Simulate, TheWholeClusterIsMeasuredAgainstTheSumOfItsSpeeds) {
  const Json size = report({12})["sizes"][0];
  EXPECT_EQ(size["machines"], 6);
  // 20 units on five times 4 threads of 10 ms, and 4 of 20 ms: 10 ms at best, 20 units / 2,200 per s ideally.
  EXPECT_NEAR(size["efficiency"]["whole_units"].get<double>(), 20 / 2200.0 / 0.01, 1e-9);
  EXPECT_LE(size["efficiency"]["units"].get<double>(),
            size["efficiency"]["whole_units"].get<double>() + 1e-9);
  EXPECT_GT(size["step"]["reduce_s"].get<double>(), 5e-5) << "five rounds of 10 us";
  EXPECT_NEAR(size["run"]["node_hours"].get<double>(), 6 * size["run"]["seconds"].get<double>() / 3600,
              1e-12);
  EXPECT_NEAR(size["checkpoints"]["job_mtbf_hours"].get<double>(), 50000 / 6.0, 1e-6);
}

TEST_F(Simulate, CheckpointsFollowTheDeckAndTheFailures) {
  const Json whole = report({12})["sizes"][0], rare = whole["checkpoints"];
  EXPECT_EQ(rare["bytes"], 3 * 4 * 144) << "parameters, padded, and two moments of Adam";
  EXPECT_NEAR(rare["write_s"].get<double>(), 0.05, 1e-5);
  EXPECT_EQ(rare["deck_interval_s"], 60);
  const double solve_s = whole["run"]["seconds"];
  EXPECT_NEAR(rare["with_deck"]["waste"].get<double>(), 0.05 / (solve_s + 0.05), 1e-3) << "one at the end";
  const std::string failing =
      std::string(cluster_text) + "[failures]\nnode_mtbf_hours = 0.01\nrestart_s = 5\n";
  const std::vector<Override> longer = {{"train.epochs", "1000"}, {"checkpoint.every", "100 steps"}};
  const Json size = report({12}, longer, failing)["sizes"][0];
  const Json often = size["checkpoints"];
  EXPECT_NEAR(often["deck_interval_s"].get<double>(), 100 * size["step"]["seconds"].get<double>(), 1e-9);
  EXPECT_NEAR(often["job_mtbf_hours"].get<double>(), 0.01 / 6, 1e-9);
  EXPECT_GT(often["with_best"]["waste"].get<double>(), 0.1);
  EXPECT_LE(often["with_best"]["waste"].get<double>(), often["with_deck"]["waste"].get<double>());
  EXPECT_GT(often["with_best"]["seconds"].get<double>(), size["run"]["seconds"].get<double>());
  EXPECT_GT(often["with_best"]["failures"].get<double>(), 1);
  EXPECT_GE(often["best_interval_steps"].get<double>(), 1);
}

TEST_F(Simulate, TheSameJobGivesTheSameReport) {
  EXPECT_EQ(report({4, 12}).dump(), report({4, 12}).dump());
  const std::string noisy = "[[nodes]]\ncount = 3\nunit_ms = 10\nnoise = 0.3\n";
  EXPECT_NE(report({3}, {}, noisy)["sizes"].dump(), report({3}, {{"run.seed", "1"}}, noisy)["sizes"].dump());
}

TEST_F(Simulate, TooFewUnitsAreAWarningFromWhereOnItIsSo) {
  EXPECT_TRUE(report({2})["warnings"].empty());
  const Json warnings = report({2, 4, 8, 12})["warnings"];
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_EQ(warnings[0].get<std::string>().find("with 4 ranks a step has 20 units for 8 compute threads"), 0u)
      << warnings[0];
  EXPECT_NE(warnings[0].get<std::string>().find("unit_size of 1"), std::string::npos) << warnings[0];
  EXPECT_EQ(warnings[1].get<std::string>().find("with 12 ranks"), 0u) << warnings[1];
}

TEST_F(Simulate, SizesWithoutAClassAreLeftOutAndNamed) {
  const std::string mixed = "[[nodes]]\ncount = 2\nunit_ms = 10\n[[nodes]]\ndevice = \"gpu\"\nunit_ms = 1\n";
  const std::vector<Override> fixed = {{"balance.classes", "fixed"},
                                       {"balance.shares", "[\"1 cpu\", \"4 cuda\"]"}};
  const Json found = report({1, 3}, fixed, mixed);
  ASSERT_EQ(found["sizes"].size(), 1u);
  EXPECT_EQ(found["sizes"][0]["ranks"], 3);
  EXPECT_NE(found["warnings"].dump().find("1 ranks have no nodes of some class"), std::string::npos);
}

TEST_F(Simulate, AMeasuringRunStandsInTheReport) {
  Calibration measured;
  measured.run = "runs/x";
  measured.unit_s = 0.02;
  measured.rest_s = 0.5;
  measured.nodes = 1;
  measured.warnings = {"as measured."};
  const Json found = report({1}, {}, "[[nodes]]\nnoise = 0\n", measured);
  EXPECT_EQ(found["calibration"]["unit_ms"], 20);
  EXPECT_EQ(found["cluster"]["nodes"][0]["unit_ms"], 20);
  EXPECT_NEAR(found["sizes"][0]["step"]["units_s"].get<double>(), 20 * 0.02, 1e-9);
  const Json& step = found["sizes"][0]["step"];  // all of it: one node as in the run
  EXPECT_NEAR(step["other_s"].get<double>() + step["update_s"].get<double>(), 0.5, 1e-9);
  EXPECT_EQ(found["warnings"][0], "as measured.");
  EXPECT_FALSE(report({1}).contains("calibration"));
}

TEST_F(Simulate, DefaultSizesDoubleUpToTheCluster) {
  EXPECT_EQ(default_sizes(parse_cluster("c", cluster_text)), (std::vector<int64_t>{1, 2, 4, 8, 12}));
  EXPECT_EQ(default_sizes(parse_cluster("c", "[[nodes]]\ncount = 8\n")), (std::vector<int64_t>{1, 2, 4, 8}));
}

TEST_F(Simulate, TheCommandPrintsOnRankZeroOnly) {
  for (const bool json : {false, true}) {
    Options chosen = options();
    chosen.json = json;
    chosen.sizes = {4, 1, 4};
    chosen.simulated_steps = 3;
    ::testing::internal::CaptureStdout();
    EXPECT_EQ(simulate(world_, chosen), Exit::done);
    const std::string text = ::testing::internal::GetCapturedStdout();
    if (world_.rank() != 0) {
      EXPECT_EQ(text, "");
    } else if (json) {
      const Json found = Json::parse(text);
      ASSERT_EQ(found["sizes"].size(), 2u);
      EXPECT_EQ(found["sizes"][0]["ranks"], 1);
      EXPECT_EQ(found["run"]["simulated_steps"], 3);
    } else {
      EXPECT_NE(text.find("12 ranks on 6 machines"), std::string::npos) << text;
    }
  }
}

TEST_F(Simulate, BadFilesAndSizesAreAgreedErrors) {
  Options bad = options();
  bad.cluster = file("nowhere.toml");
  expect_error(bad, Exit::no_input, "nowhere.toml");
  bad = options();
  bad.sizes = {1, 13};
  expect_error(bad, Exit::usage, "13 ranks are more than the 12");
  bad = options();
  bad.from = file("nowhere");
  expect_error(bad, Exit::no_input, "there is no run in this directory");
  bad = options({{"train.epochs", "0"}});
  expect_error(bad, Exit::deck, "train.epochs");
  if (world_.rank() == 0) std::ofstream(file("cluster.toml")) << "[[nodes]]\nrank = 2\n";
  world_.barrier();
  expect_error(options(), Exit::deck, "unknown key nodes.rank");
}

}  // namespace
}  // namespace lepton::train
