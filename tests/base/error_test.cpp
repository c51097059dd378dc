// SPDX-License-Identifier: Apache-2.0
// What an Error carries, what CHECK says about the place in the run, and the nearest name.
#include "base/error.h"

#include <gtest/gtest.h>

#include "base/failpoint.h"

namespace lepton {
namespace {

TEST(Error, CarriesCodePlaceProblemAndHint) {
  try {
    REQUIRE(1 > 2, Exit::no_input, "mnist.h5", "no such file", "Look at data.file.");
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::no_input);
    EXPECT_STREQ(error.what(), "mnist.h5: no such file\n  Look at data.file.");
    EXPECT_EQ(error.where(), "mnist.h5");
    EXPECT_EQ(error.problem(), "no such file");
    EXPECT_EQ(error.hint(), "Look at data.file.");
    EXPECT_FALSE(error.agreed());
    EXPECT_TRUE(error.as_agreed().agreed());
    EXPECT_STREQ(error.as_agreed().what(), error.what());
  }
}

TEST(Error, LeavesOutWhatIsEmpty) {
  EXPECT_STREQ(Error(Exit::usage, "", "bad option", "").what(), "bad option");
}

TEST(Error, RequireEvaluatesTextsOnFailureOnly) {
  int evaluated = 0;
  const auto text = [&evaluated] { return std::to_string(++evaluated); };
  REQUIRE(true, Exit::io, text(), text(), text());
  CHECK(true, text());
  EXPECT_EQ(evaluated, 0);
}

TEST(Error, CheckNamesRankStepAndUnit) {
  run_context() = {.rank = 3, .step = 41, .unit = 7, .restart = 0};
  try {
    CHECK(2 + 2 == 5, "arithmetic");
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::software);
    const std::string text = error.what();
    for (const char* part : {"error_test.cpp", "2 + 2 == 5", "arithmetic", "rank 3", "step 41", "unit 7"})
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
  }
  run_context() = {};
}

TEST(Error, PositionIsFileLineColumn) {
  EXPECT_EQ((SourcePosition{"a.toml", 3, 9}).text(), "a.toml:3:9");
  EXPECT_EQ((SourcePosition{"--set", 0, 0}).text(), "--set");
}

TEST(Error, NearestNameFindsTyposAndRefusesStrangers) {
  const std::vector<std::string> keys = {"batch_size", "unit_size", "epochs", "threads"};
  EXPECT_EQ(nearest_name("bach_size", keys), "batch_size");
  EXPECT_EQ(nearest_name("epoch", keys), "epochs");
  EXPECT_EQ(nearest_name("zzzzzzzzzzzzzzzz", keys), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

}  // namespace
}  // namespace lepton
