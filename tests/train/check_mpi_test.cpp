// SPDX-License-Identifier: Apache-2.0
// The plan that `check` makes, on any number of ranks: steps, units, memory, warnings, and the errors of bad
// data.
#include "train/check.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "errors.h"
#include "storage/file.h"
#include "storage/hdf5.h"
#include "train/commands.h"

namespace lepton::train {
namespace {

namespace fs = std::filesystem;

constexpr storage::StoredType uint8_type{storage::StoredType::Kind::unsigned_integer, 1, false};

class Check : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/lepton_check_" +
                 ::testing::UnitTest::GetInstance()->current_test_info()->name();
    if (world_.rank() == 0) {
      fs::remove_all(directory_);
      fs::create_directories(directory_);
      storage::Hdf5Image image;
      const std::vector<std::byte> inputs(100 * 12), targets(100);
      image.add("x", uint8_type, {100, 3, 4}, inputs);
      image.add("y", uint8_type, {100}, targets);
      storage::write_file_durably(directory_ + "/d.h5", image.pieces().joined(), "");
      std::ofstream(directory_ + "/deck.toml")
          << "[data]\nfile = \"d.h5\"\ntrain = { inputs = \"x\", targets = \"y\", rows = [0, 90] }\n"
             "test = { rows = [90, 100] }\nclasses = 10\n[model]\n"
             "layers = [{ type = \"flatten\" }, { type = \"dense\", units = 10 }]\n"
             "[train]\nepochs = 3\nbatch_size = 40\nunit_size = 10\n";
    }
    world_.barrier();
  }
  void TearDown() override {
    world_.barrier();
    if (world_.rank() == 0) fs::remove_all(directory_);
  }

  Options options(const std::vector<Override>& overrides = {}) const {
    Options options;
    options.target = directory_ + "/deck.toml";
    options.overrides = overrides;
    return options;
  }

  nlohmann::ordered_json report(const std::vector<Override>& overrides, const ThreadShare& threads, int nodes,
                                int64_t available) const {
    return report(overrides, threads, nodes, nodes, available);
  }
  nlohmann::ordered_json report(const std::vector<Override>& overrides, const ThreadShare& threads, int nodes,
                                int machines, int64_t available) const {
    const Deck deck = load_deck(world_, options(overrides));
    const data::Dataset dataset(world_, deck.data);
    const model::Graph graph = graph_for(world_, deck, dataset);
    return check_report(deck, dataset, graph, unit_sizes(deck, dataset), threads,
                        {"avx512", ops::Precision::fp32, ""}, {nodes, nodes, machines}, available);
  }

  void expect_error(const std::vector<Override>& overrides, Exit code, const std::string& part) const {
    ::testing::internal::CaptureStdout();
    const auto error = expect_error_of([&] { check(world_, options(overrides)); }, code, {part});
    EXPECT_TRUE(error && error->agreed()) << part;
    ::testing::internal::GetCapturedStdout();
  }

  comm::World world_;
  std::string directory_;
};

TEST_F(Check, PlansStepsAndUnits) {
  const auto plan = report({}, {}, 1, int64_t{1} << 40);
  EXPECT_EQ(plan["data"]["samples"]["train"], 90);
  EXPECT_EQ(plan["data"]["samples"]["test"], 10);
  EXPECT_EQ(plan["parameters"], 12 * 10 + 10);
  EXPECT_EQ(plan["steps"]["per_epoch"], 3);
  EXPECT_EQ(plan["steps"]["total"], 9);
  EXPECT_EQ(plan["steps"]["last_batch"], 10);
  EXPECT_EQ(plan["steps"]["units"], 4);
  EXPECT_EQ(plan["shuffle"]["feasible"], true);
  EXPECT_EQ(plan["arithmetic"]["precision"], "fp32");
  EXPECT_EQ(plan["arithmetic"]["instruction_set"], "avx512");
  EXPECT_NE(check_text(plan, "").find("products in fp32; CPUs: avx512\n"), std::string::npos);
  EXPECT_TRUE(plan["warnings"].empty());
  EXPECT_FALSE(plan["memory"].contains("feasible_nodes"));
}

TEST_F(Check, MemoryIsDividedAmongNodes) {
  const auto one = report({}, {}, 1, int64_t{1} << 40), two = report({}, {}, 2, int64_t{1} << 40);
  EXPECT_EQ(one["memory"]["data_bytes"], 100 * 13);
  EXPECT_EQ(two["memory"]["data_bytes"], 50 * 13);
  EXPECT_EQ(one["memory"]["staging_bytes"], 0);
  EXPECT_GT(two["memory"]["staging_bytes"].get<int64_t>(), 0);
  EXPECT_GT(one["memory"]["thread_bytes"].get<int64_t>(), 0);
  EXPECT_GE(one["memory"]["state_bytes"].get<int64_t>(), 130 * 32);
}

TEST_F(Check, TheRowsOfAMachineCountOnceForAllItsNodes) {
  ThreadShare threads;
  threads.on_host.nodes = 3;
  const auto memory = report({}, threads, 3, 1, int64_t{1} << 40)["memory"];
  EXPECT_EQ(memory["data_bytes"], 100 * 13);
  EXPECT_EQ(memory["staging_bytes"], 0);
  EXPECT_EQ(memory["machine_bytes"], 100 * 13 + 3 * memory["node_bytes"].get<int64_t>());
  const auto needed = memory["machine_bytes"].get<int64_t>();
  EXPECT_FALSE(report({}, threads, 3, 1, needed)["memory"].contains("missing_bytes"));
  EXPECT_EQ(report({}, threads, 3, 1, needed - 7)["memory"]["missing_bytes"], 7);
  const std::string text = check_text(report({}, threads, 3, 1, needed), "");
  EXPECT_NE(text.find(" on a machine: data 1.3 KiB, and for each of its nodes state "), std::string::npos)
      << text;
}

TEST_F(Check, TooLittleMemoryIsSaidInBytesAndInNodesThatWouldDo) {
  const Override wide = {"model.layers",
                         "[{ type = \"flatten\" }, { type = \"dense\", units = 3000 }, "
                         "{ type = \"dense\", units = 10 }]"};
  std::vector<int64_t> needs = {0};
  for (int nodes = 1; nodes <= 7; ++nodes)
    needs.push_back(report({wide}, {}, nodes, int64_t{1} << 40)["memory"]["machine_bytes"].get<int64_t>());
  const auto least = [&](int64_t available) {
    int nodes = 1;
    while (needs[static_cast<size_t>(nodes)] > available) ++nodes;
    return nodes;
  };
  ASSERT_GT(needs[1], needs[5]);
  const auto plan = report({wide, {"data.shuffle", "window"}}, {}, 1, needs[1] - 100);
  EXPECT_EQ(plan["memory"]["missing_bytes"], 100);
  EXPECT_EQ(plan["shuffle"]["feasible"], false);
  EXPECT_FALSE(plan["shuffle"].contains("feasible_window")) << "a window keeps all rows resident too";
  EXPECT_EQ(plan["memory"]["feasible_nodes"], least(needs[1] - 100));
  EXPECT_EQ(report({wide}, {}, 1, needs[5])["memory"]["feasible_nodes"], least(needs[5]));
  const std::string text = check_text(plan, "");
  EXPECT_NE(text.find("shuffle window, not feasible in this memory: all rows of the dataset are kept in it"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(std::to_string(least(needs[1] - 100)) + " machines with as much memory each would do"),
            std::string::npos)
      << text;
}

TEST_F(Check, WhereEveryNodeNeedsTooMuchNoNumberOfNodesWouldDo) {
  const auto plan = report({}, {}, 1, 1000);
  EXPECT_EQ(plan["memory"]["feasible_nodes"], 0);
  EXPECT_NE(check_text(plan, "").find("no number of such machines would do"), std::string::npos);
}

TEST_F(Check, FewUnitsForManyThreadsAreAWarning) {
  ThreadShare threads;
  threads.job_threads = threads.node_threads = threads.threads = 8;
  threads.warning = "bound too narrowly.";
  const auto plan = report({}, threads, 1, int64_t{1} << 40);
  ASSERT_EQ(plan["warnings"].size(), 2u);
  EXPECT_EQ(plan["warnings"][0], "bound too narrowly.");
  EXPECT_NE(plan["warnings"][1].get<std::string>().find("4 units for 8 compute threads"), std::string::npos);
  EXPECT_NE(plan["warnings"][1].get<std::string>().find("unit_size of 5"), std::string::npos);
}

TEST_F(Check, TheCommandPrintsOnRankZeroOnly) {
  for (const bool json : {false, true}) {
    Options chosen = options();
    chosen.json = json;
    ::testing::internal::CaptureStdout();
    EXPECT_EQ(check(world_, chosen), Exit::done);
    const std::string text = ::testing::internal::GetCapturedStdout();
    if (world_.rank() != 0) {
      EXPECT_EQ(text, "");
      continue;
    }
    if (json) {
      EXPECT_EQ(nlohmann::json::parse(text)["steps"]["units"], 4);
    }
    if (!json) {
      EXPECT_NE(text.find("3 per epoch, 9 in all; 4 units of at most 10"), std::string::npos) << text;
      EXPECT_NE(text.find("values      not read: they are checked when training starts"), std::string::npos)
          << text;
    }
  }
}

TEST_F(Check, BadDecksAndDataAreAgreedErrors) {
  expect_error({{"train.epochs", "0"}}, Exit::deck, "train.epochs");
  expect_error({{"data.file", directory_ + "/absent.h5"}}, Exit::no_input, "absent.h5");
  expect_error({{"data.train.inputs", "nothing"}}, Exit::data, "nothing");
  expect_error({{"data.file", directory_ + "/deck.toml"}}, Exit::data, "deck.toml");
  expect_error({{"data.test.rows", "[95, 200]"}}, Exit::deck, "rows");
  expect_error({{"model.layers", "[{ type = \"flatten\" }, { type = \"dense\", units = 3 }]"}}, Exit::deck,
               "[3]");
  expect_error({{"model.layers", "[{ type = \"dens\", units = 3 }]"}}, Exit::deck, "Did you mean \"dense\"?");
}

TEST_F(Check, AMissingDeckIsNoInput) {
  Options missing = options();
  missing.target = directory_ + "/absent.toml";
  try {
    check(world_, missing);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::no_input);
  }
}

}  // namespace
}  // namespace lepton::train
