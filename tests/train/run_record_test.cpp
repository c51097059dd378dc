// SPDX-License-Identifier: Apache-2.0
// run.json: starts are appended and counted, ends complete the last one, changed operational keys are noted
// in the log, and a file that is no history does not keep a run from starting. identity.json: read back as it
// was written, and never when it is damaged.
#include "train/run_record.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "scratch.h"

namespace lepton::train {
namespace {

nlohmann::json record_of(const Scratch& run) {
  return nlohmann::json::parse(read_text(run.file("run.json")));
}

StartRecord start_of(int ranks, int64_t step, const std::string& epochs = "5") {
  return {ranks,
          1,
          step,
          "cpu avx2",
          "",
          {"cpu avx2", "cuda X"},
          {{"train.epochs", epochs}, {"checkpoint.keep", "3"}}};
}

TEST(RunRecord, AFreshDirectoryHasNoStarts) {
  const Scratch run;
  EXPECT_EQ(count_starts(run.path()), 0);
  EXPECT_FALSE(std::filesystem::exists(run.file("run.json")));  // counting writes nothing
}

TEST(RunRecord, WhatWasHealedIsRemembered) {
  const Scratch run;
  StartRecord start = start_of(2, 0);
  record_start(run.path(), start);
  start.healed = {"step-00000018/state.bin: the bytes differ", "step-00000018/manifest.json: empty"};
  record_start(run.path(), start);
  const std::vector<std::string> history = healing_history(run.path());
  ASSERT_EQ(history.size(), 2u);
  EXPECT_TRUE(history[0].ends_with("Z " + start.healed[0])) << history[0];
  EXPECT_FALSE(record_of(run)["starts"][0].contains("healed"));
}

TEST(RunRecord, StartsAndEndsInOrder) {
  const Scratch run;
  record_start(run.path(), start_of(2, 0));
  EXPECT_EQ(count_starts(run.path()), 1);
  record_end(run.path(), 40, 75);
  record_start(run.path(), start_of(7, 40));
  EXPECT_EQ(count_starts(run.path()), 2);
  const nlohmann::json starts = record_of(run)["starts"];
  EXPECT_EQ(starts[0]["ranks"], 2);
  EXPECT_EQ(starts[0]["nodes"], 1);
  EXPECT_EQ(starts[0]["step"], 0);
  EXPECT_EQ(starts[0]["last_step"], 40);
  EXPECT_EQ(starts[0]["exit"], 75);
  EXPECT_EQ(starts[0]["arithmetic_class"], "cpu avx2");
  EXPECT_EQ(starts[0]["classes"], (std::vector<std::string>{"cpu avx2", "cuda X"}));
  EXPECT_EQ(starts[0]["operational"]["train.epochs"], "5");
  EXPECT_EQ(starts[0]["begin"].get<std::string>().size(), std::string("2024-01-01T00:00:00Z").size());
  EXPECT_TRUE(starts[0].contains("end"));
  EXPECT_FALSE(starts[0]["host"].get<std::string>().empty());
  EXPECT_EQ(starts[1]["ranks"], 7);
  EXPECT_FALSE(starts[1].contains("exit"));  // still running, or killed
}

TEST(RunRecord, ParentageStays) {
  const Scratch run;
  StartRecord start = start_of(1, 0);
  start.parent = "runs/old/checkpoints/step-00000040";
  record_start(run.path(), start);
  record_start(run.path(), start_of(1, 3));
  EXPECT_EQ(record_of(run)["parent"], "runs/old/checkpoints/step-00000040");
  start.parent = "../runs/old/checkpoints/step-00000040";  // the same, named from elsewhere
  record_start(run.path(), start);
  EXPECT_EQ(record_of(run)["parent"], "runs/old/checkpoints/step-00000040");
}

TEST(RunRecord, ChangedOperationalKeysAreNoted) {
  const Scratch run;
  start_log(0, 1);
  record_start(run.path(), start_of(1, 0, "5"));
  ::testing::internal::CaptureStderr();
  record_start(run.path(), start_of(1, 9, "5"));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  ::testing::internal::CaptureStderr();
  record_start(run.path(), start_of(1, 9, "8"));
  const std::string noted = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(noted.find("train.epochs changed from 5 to 8"), std::string::npos) << noted;
  EXPECT_EQ(noted.find("checkpoint.keep"), std::string::npos) << noted;
}

TEST(RunRecord, AForeignFileIsReplacedWithAWarning) {
  for (const char* text :
       {"", "{ torn", "[1, 2]", "\"text\"", "{\"starts\": 7}", "{\"starts\": {\"a\": 1}}"}) {
    const Scratch run;
    write_text(run.file("run.json"), text);
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(count_starts(run.path()), 0) << text;
    record_end(run.path(), 1, 0);  // no start to complete
    record_start(run.path(), start_of(1, 0));
    ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(count_starts(run.path()), 1) << text;
  }
}

TEST(RunRecord, RecordsOfOtherShapesDoNotStopAStart) {
  const Scratch run;
  write_text(run.file("run.json"),
             R"({"starts": [{"operational": ["odd"]}, {"operational": {"train.epochs": 5}}]})");
  record_start(run.path(), start_of(1, 0));
  EXPECT_EQ(count_starts(run.path()), 3);
}

const RunIdentity identity = {{"cpu avx2", {{"run.seed", "7"}, {"model.loss", "\"mse\""}}, "ff"},
                              900,
                              {"/runs/old", "/runs/old/checkpoints/step-00000040", "0123456789abcdef"},
                              {"/weights.safetensors", "fedcba9876543210"}};

TEST(RunIdentity, IsReadBackAsItWasWritten) {
  const Scratch run;
  EXPECT_FALSE(read_identity(run.path()));
  EXPECT_FALSE(std::filesystem::exists(run.file("identity.json")));  // asking writes nothing
  write_identity(run.path(), identity);
  EXPECT_EQ(read_identity(run.path()), identity);
  const RunIdentity other{identity.identity, 0, {}};
  write_identity(run.path(), other);
  EXPECT_EQ(read_identity(run.path()), other);
  EXPECT_FALSE(std::filesystem::exists(run.file("identity.json.tmp")));
}

TEST(RunIdentity, APathThatIsNoTextDoesNotStopAStart) {
  RunIdentity odd = identity;
  odd.parent.path = "/runs/\xff";
  EXPECT_EQ(RunIdentity::decode(odd.encode(), "x").identity, identity.identity);
}

TEST(RunIdentity, ADamagedFileIsRefused) {
  const Scratch run;
  const std::string whole = identity.encode();
  std::vector<std::string> texts = {"", "{ torn", "[1]", "{}", whole.substr(0, whole.size() / 2)};
  for (const char* part : {"cpu avx2", "900", "model.loss", "step-00000040", "fedcba"}) {
    texts.push_back(whole);
    texts.back()[whole.find(part)] ^= 1;
  }
  for (const std::string& text : texts) {
    write_text(run.file("identity.json"), text);
    try {
      read_identity(run.path());
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::data);
      EXPECT_NE(std::string(error.what()).find("identity.json"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("--fresh"), std::string::npos) << error.what();
    }
  }
}

TEST(RunRecord, FailuresAreStartsThatDidNotSayHowTheyEnded) {
  const Scratch run;
  EXPECT_EQ(failure_history(run.path()).failures, 0);
  EXPECT_EQ(failure_history(run.path()).observed_s, 0);
  write_text(run.file("run.json"),
             R"({"starts": [{"begin": "2020-01-01T00:00:00Z"}, {"begin": "2020-01-02T00:00:00Z", "exit": 75},
                                     {"exit": 74}, {"exit": 0}, {"exit": 78}, 5]})");
  const FailureHistory history = failure_history(run.path());
  EXPECT_EQ(history.failures, 2);
  EXPECT_GT(history.observed_s, 5 * 365 * 86400.0);
}

}  // namespace
}  // namespace lepton::train
