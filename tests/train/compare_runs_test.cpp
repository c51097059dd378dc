// SPDX-License-Identifier: Apache-2.0
// Where two runs part: equal ledgers, longer ones, the first field that differs, what the runs were begun as,
// and files that are missing or damaged.
#include "train/compare_runs.h"

#include <gtest/gtest.h>

#include "errors.h"
#include "report/ledger.h"
#include "scratch.h"
#include "train/commands.h"
#include "train/run_record.h"

namespace lepton::train {
namespace {

class CompareRuns : public ::testing::Test {
 protected:
  /// A run with `steps` lines; the line of step `odd` has another loss.
  std::string write_run(const std::string& name, int64_t steps, int64_t odd = 0,
                        const std::string& note = "") const {
    const std::string directory = scratch_.file(name);
    storage::make_directories(directory);
    report::Ledger ledger(directory, std::nullopt, true);
    for (int64_t step = 1; step <= steps; ++step) {
      report::LedgerLine line;
      line.step = step;
      line.loss = step == odd ? 2.5 : 1.0 / static_cast<double>(step);
      line.parameters = static_cast<uint64_t>(step);
      if (step == odd) line.note = note;
      ledger.append(line);
    }
    return directory;
  }
  void write_identity_of(const std::string& directory, const std::string& rate) const {
    RunIdentity run;
    run.identity = {"cpu", {{"optimizer.learning_rate", rate}, {"run.seed", "7"}}, "data"};
    write_identity(directory, run);
  }

  Scratch scratch_;
};

TEST_F(CompareRuns, EqualOnesAreTheSameAsFarAsBothGo) {
  const auto equal = compare_runs(write_run("a", 5), write_run("b", 5));
  EXPECT_EQ(equal["same"], true);
  EXPECT_EQ(equal["compared"], 5);
  EXPECT_FALSE(equal.contains("first_difference"));
  EXPECT_NE(comparison_text(equal).find("the same in all 5 steps"), std::string::npos);
  const auto longer = compare_runs(scratch_.file("a"), write_run("c", 9));
  EXPECT_EQ(longer["same"], true);
  EXPECT_EQ(longer["steps"], (std::vector<int64_t>{5, 9}));
  EXPECT_NE(comparison_text(longer).find(scratch_.file("c") + " goes on to step 9"), std::string::npos);
}

TEST_F(CompareRuns, TheFirstDifferenceIsNamedWithItsFields) {
  const auto parted = compare_runs(write_run("a", 5), write_run("b", 5, 3));
  EXPECT_EQ(parted["same"], false);
  EXPECT_EQ(parted["first_difference"]["step"], 3);
  EXPECT_EQ(parted["first_difference"]["fields"].size(), 1u) << "the chain only follows";
  EXPECT_EQ(parted["first_difference"]["fields"]["loss"][1], "2.5");
  EXPECT_NE(comparison_text(parted).find("part at step 3"), std::string::npos);
  const auto noted = compare_runs(scratch_.file("b"), write_run("c", 5, 3, "new-arithmetic-class"));
  EXPECT_EQ(noted["first_difference"]["fields"]["note"][1], "new-arithmetic-class");
}

TEST_F(CompareRuns, WhatTheRunsAreIsToldWhereBothTell) {
  const std::string a = write_run("a", 2), b = write_run("b", 2, 2);
  EXPECT_TRUE(compare_runs(a, b)["differing"].empty());
  write_identity_of(a, "0.1");
  EXPECT_TRUE(compare_runs(a, b)["differing"].empty());
  write_identity_of(b, "0.2");
  const auto both = compare_runs(a, b);
  EXPECT_EQ(both["differing"].size(), 1u);
  EXPECT_EQ(both["differing"]["optimizer.learning_rate"], (std::vector<std::string>{"0.1", "0.2"}));
  EXPECT_NE(comparison_text(both).find("optimizer.learning_rate"), std::string::npos);
  write_text(b + "/identity.json", "{}");
  EXPECT_TRUE(compare_runs(a, b)["differing"].empty()) << "damaged: the ledgers are compared all the same";
}

TEST_F(CompareRuns, WhatCannotBeReadIsNamed) {
  const std::string a = write_run("a", 4);
  const auto missing = expect_error_of([&] { compare_runs(a, scratch_.file("none")); }, Exit::no_input,
                                       {"there is no ledger"});
  EXPECT_TRUE(missing && missing->where().starts_with(scratch_.file("none")));
  std::string text = read_text(a + "/ledger.txt");
  text[text.find("loss=0.5") + 5] = '1';
  write_text(a + "/ledger.txt", text);
  const auto broken =
      expect_error_of([&] { compare_runs(a, a); }, Exit::data, {"does not follow from those before"});
  EXPECT_EQ(broken ? broken->where() : "", a + "/ledger.txt:2");
}

TEST_F(CompareRuns, TheCommandEndsAsDiffDoes) {
  Options options;
  options.target = write_run("a", 3);
  options.other = write_run("b", 3, 2);
  options.json = true;
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(compare(options), Exit::different);
  EXPECT_NE(::testing::internal::GetCapturedStdout().find("\"same\": false"), std::string::npos);
  options.other = options.target;
  options.json = false;
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(compare(options), Exit::done);
  EXPECT_NE(::testing::internal::GetCapturedStdout().find("the same"), std::string::npos);
}

}  // namespace
}  // namespace lepton::train
