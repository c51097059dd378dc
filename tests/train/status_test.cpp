// SPDX-License-Identifier: Apache-2.0
// How a run stands, from files alone: new, running, finished, stopped, failed, interrupted; torn and foreign
// files.
#include "train/status.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "report/ledger.h"
#include "storage/directory_lock.h"
#include "storage/file.h"
#include "train/commands.h"

namespace lepton::train {
namespace {

namespace fs = std::filesystem;

class Status : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/lepton_status_" +
                 ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(directory_);
    fs::create_directories(directory_);
    write("deck.toml", "");
  }
  void TearDown() override { fs::remove_all(directory_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ + "/" + name) << text;
  }
  std::string state() const { return run_status(directory_)["state"]; }
  std::string directory_;
};

TEST_F(Status, StatesFollowTheLastStart) {
  EXPECT_EQ(state(), "new");
  write("run.json", R"({"starts": [{"begin": "t0", "exit": 0}, {"begin": "t1"}]})");
  EXPECT_EQ(state(), "interrupted");
  for (const auto& [code, name] :
       std::vector<std::pair<int, std::string>>{{0, "finished"}, {75, "stopped"}, {76, "failed"}}) {
    write("run.json",
          R"({"starts": [{"begin": "t0", "end": "t1", "ranks": 4, "exit": )" + std::to_string(code) + "}]}");
    EXPECT_EQ(state(), name);
  }
  EXPECT_EQ(run_status(directory_)["ranks"], 4);
  EXPECT_EQ(run_status(directory_)["starts"], 1);
}

TEST_F(Status, AHeldLockMeansRunning) {
  write("run.json", R"({"starts": [{"begin": "t0"}]})");
  const auto lock = storage::DirectoryLock::try_take(directory_, "host h, pid 3");
  const auto status = run_status(directory_);
  EXPECT_EQ(status["state"], "running");
  EXPECT_EQ(status["owner"], "host h, pid 3");
  EXPECT_NE(status_text(status).find("running (host h, pid 3)"), std::string::npos);
}

TEST_F(Status, TellsStepLossEvaluationsAndCheckpoint) {
  {
    report::Ledger ledger(directory_, std::nullopt, true);
    for (int64_t step = 1; step <= 2; ++step) {
      report::LedgerLine line;
      line.step = step;
      line.epoch = 1;
      line.loss = 0.25;
      ledger.append(line);
    }
  }
  write("metrics.jsonl",
        "{\"kind\":\"test\",\"step\":1,\"epoch\":0.5,\"loss\":1,\"accuracy\":0.5}\n"
        "{\"kind\":\"train\",\"step\":2,\"epoch\":1,\"loss\":0.25,\"samples_per_second\":1500.0}\n"
        "{\"kind\":\"test\",\"step\":2,\"epoch\":1,\"loss\":1,\"accuracy\":0.75}\n{\"kind\":\"te");
  for (const char* name : {"step-00000001", "step-00000002", "step-00000003.tmp-2"})
    fs::create_directories(directory_ + "/checkpoints/" + name);
  const auto status = run_status(directory_);
  EXPECT_EQ(status["step"], 2);
  EXPECT_EQ(status["epoch"], 1);
  EXPECT_EQ(status["loss"], 0.25);
  EXPECT_EQ(status["samples_per_second"], 1500.0);
  EXPECT_EQ(status["test"]["accuracy"], 0.75);
  EXPECT_EQ(status["checkpoint"], directory_ + "/checkpoints/step-00000002");
  const std::string text = status_text(status);
  EXPECT_NE(text.find("step 2, epoch 1, loss 0.25, 1.50k samples/s"), std::string::npos) << text;
  EXPECT_NE(text.find("test at step 2: loss 1, accuracy 0.75"), std::string::npos) << text;
}

TEST_F(Status, TellsTheLastBalance) {
  write("metrics.jsonl",
        "{\"kind\":\"balance\",\"step\":1,\"efficiency\":0.5,\"speeds\":[1.0,2.0]}\n"
        "{\"kind\":\"balance\",\"step\":4,\"efficiency\":0.934,\"speeds\":[9.5,8.25,24.0]}\n"
        "{\"kind\":\"balance\",\"step\":7,\"effi");
  const auto status = run_status(directory_);
  EXPECT_EQ(status["balance"], nlohmann::ordered_json::parse(
                                   R"({"step": 4, "nodes": 3, "efficiency": 0.934,
                                       "slowest": {"node": 1, "units_per_second": 8.25},
                                       "fastest": {"node": 2, "units_per_second": 24.0}})"));
  EXPECT_NE(status_text(status).find(
                "balance at step 4: efficiency 93 %, of 3 nodes the slowest is 1 (8.25 units/s), "
                "the fastest 2 (24 units/s)\n"),
            std::string::npos)
      << status_text(status);
}

TEST_F(Status, BalanceOfOneNodeAndWithoutEfficiency) {
  write("metrics.jsonl", R"({"kind":"balance","step":4,"efficiency":null,"speeds":[9.5]})");
  const auto status = run_status(directory_);
  EXPECT_FALSE(status["balance"].contains("efficiency"));
  EXPECT_NE(status_text(status).find("balance at step 4: one node with 9.50 units/s\n"), std::string::npos)
      << status_text(status);
}

TEST_F(Status, ForeignFilesDoNotMatter) {
  for (const char* text :
       {"", "no json", "[]", "{}", R"({"starts": 3})", R"({"starts": []})", R"({"starts": [1]})"}) {
    write("run.json", text);
    EXPECT_EQ(state(), "new") << text;
  }
  write("run.json", R"({"starts": [{"begin": "t0", "exit": "odd"}]})");
  EXPECT_EQ(state(), "interrupted");
  write("metrics.jsonl", "7\n[]\n{\"kind\":4}\n");
  EXPECT_NO_THROW(status_text(run_status(directory_)));
  for (const char* figures :
       {"", R"(,"speeds":3)", R"(,"speeds":[])", R"(,"speeds":[1,null],"efficiency":1)"}) {
    write("metrics.jsonl", std::string(R"({"kind":"balance")") + figures + "}\n");
    EXPECT_FALSE(run_status(directory_).contains("balance")) << figures;
  }
  write("metrics.jsonl", R"({"kind":"balance","speeds":[1,2],"efficiency":"odd"})");
  EXPECT_NO_THROW(status_text(run_status(directory_)));
}

TEST_F(Status, WhereThereIsNoRun) {
  for (const std::string& path : {directory_ + "/absent", ::testing::TempDir() + "/lepton_status_empty"}) {
    if (!path.ends_with("absent")) fs::create_directories(path);
    try {
      run_status(path);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::no_input);
      EXPECT_NE(std::string(error.what()).find("no run in this directory"), std::string::npos);
    }
  }
}

TEST_F(Status, TheCommandPrintsBothWays) {
  Options options;
  options.target = directory_;
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(status(options), Exit::done);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), directory_ + ": new\n");
  options.json = true;
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(status(options), Exit::done);
  EXPECT_EQ(nlohmann::json::parse(::testing::internal::GetCapturedStdout())["state"], "new");
}

}  // namespace
}  // namespace lepton::train
