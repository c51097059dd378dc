// SPDX-License-Identifier: Apache-2.0
// What is taken from a run's files: medians of the later half of its newest start's lines, times of units of
// another size in proportion; damaged lines passed over; and the errors of runs that say nothing.
#include "train/calibration.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "deck_helpers.h"
#include "errors.h"
#include "scratch.h"

namespace lepton::train {
namespace {

class Calibrate : public ::testing::Test {
 protected:
  Calibrate() { write_text(scratch_.file("deck.toml"), smallest_deck); }

  /// A line of two nodes with 4 and 2 threads, the second with units thrice as long.
  static std::string line(double unit_s, double rest_s, double efficiency = 0.9) {
    return fmt::format(
        "{{\"kind\":\"balance\",\"step\":3,\"step_s\":{},\"units_s\":1,\"efficiency\":{},\"speeds\":[{},{}],"
        "\"threads\":[4,2],\"done\":[3,1]}}\n",
        1 + rest_s, efficiency, 4 / unit_s, 2 / (3 * unit_s));
  }
  void write_metrics(const std::string& text) const { write_text(scratch_.file("metrics.jsonl"), text); }
  Calibration read(const Deck& deck = with({})) const { return read_calibration(scratch_.path(), deck); }
  void expect_wrong(Exit code, const std::string& part, const Deck& deck = with({})) const {
    expect_error_of([&] { read(deck); }, code, {part});
  }

  Scratch scratch_;
};

TEST_F(Calibrate, TheLaterHalfOfTheLinesCounts) {
  write_metrics(line(9, 5) + line(9, 5) + line(0.01, 0.25, 0.8) + line(0.03, 0.75, 1));
  write_text(scratch_.file("run.json"), "{\"starts\":[{\"ranks\":9},{\"ranks\":6}]}");
  const Calibration found = read();
  EXPECT_EQ(found.lines, 2);
  EXPECT_EQ(found.ranks, 6);
  EXPECT_EQ(found.nodes, 2);
  EXPECT_EQ(found.threads, 6);
  // 6 threads do 4 + 2/3 units in the time of a unit of the first node; medians of units of 10 and 30 ms.
  EXPECT_NEAR(found.unit_s, 0.02 * 6 / (4 + 2.0 / 3), 1e-12);
  EXPECT_NEAR(found.fastest_s, 0.02, 1e-12);
  EXPECT_NEAR(found.slowest_s, 0.06, 1e-12);
  EXPECT_NEAR(found.rest_s, 0.5, 1e-12);
  EXPECT_NEAR(found.efficiency, 0.9, 1e-12);
  EXPECT_TRUE(found.warnings.empty());
}

TEST_F(Calibrate, OnlyTheLastStartsNodesCount) {
  write_metrics(
      "{\"kind\":\"balance\",\"step_s\":9,\"units_s\":8,\"efficiency\":1,\"speeds\":[1],\"threads\":[1]}\n" +
      line(0.01, 0.5));
  EXPECT_EQ(read().lines, 1);
  EXPECT_NEAR(read().rest_s, 0.5, 1e-12);
  EXPECT_EQ(read().ranks, 0) << "run.json does not tell";
}

TEST_F(Calibrate, WhatIsDamagedIsPassedOver) {
  const std::string good = line(0.01, 0.5);
  for (const char* bad :
       {"{\"kind\":\"balance\"", "[]", "{\"kind\":\"train\",\"step_s\":1}",
        "{\"kind\":\"balance\",\"step_s\":1,\"units_s\":1,\"efficiency\":1,\"speeds\":[0],\"threads\":[1]}",
        "{\"kind\":\"balance\",\"step_s\":1,\"units_s\":1,\"efficiency\":null,\"speeds\":[1],\"threads\":[1]"
        "}",
        "{\"kind\":\"balance\",\"step_s\":1,\"units_s\":2,\"efficiency\":1,\"speeds\":[1],\"threads\":[1]}",
        "{\"kind\":\"balance\",\"step_s\":1,\"units_s\":1,\"efficiency\":1,\"speeds\":[1,2],\"threads\":[1]}",
        "{\"kind\":\"balance\",\"step_s\":1,\"units_s\":1,\"efficiency\":1,\"speeds\":\"x\",\"threads\":[1]"
        "}"}) {
    write_metrics(std::string(bad) + "\n");
    expect_wrong(Exit::data, "no line of kind balance");
    write_metrics(good + bad + "\n");
    EXPECT_EQ(read().lines, 1) << bad;
  }
  write_text(scratch_.file("run.json"), "{\"starts\":7");
  EXPECT_EQ(read().ranks, 0);
}

TEST_F(Calibrate, UnitsOfAnotherSizeTakeTimeInProportion) {
  write_metrics(line(0.01, 0.5));
  const Calibration same = read(), half = read(with({{"train.unit_size", "16"}}));
  EXPECT_NEAR(half.unit_s, same.unit_s / 2, 1e-12);
  EXPECT_NEAR(half.slowest_s, same.slowest_s / 2, 1e-12);
  EXPECT_NEAR(half.fastest_s, same.fastest_s / 2, 1e-12);
  ASSERT_EQ(half.warnings.size(), 1u);
  EXPECT_NE(half.warnings[0].find("32 samples, the deck has 16"), std::string::npos) << half.warnings[0];
}

TEST_F(Calibrate, AnotherNetworkSaysNothing) {
  write_metrics(line(0.01, 0.5));
  expect_wrong(Exit::usage, "another model.layers[0]",
               with({{"model.layers", "[{ type = \"dense\", units = 20 }]"}}));
  write_text(scratch_.file("deck.toml"),
             std::string(smallest_deck)
                 .replace(std::string(smallest_deck).find("[{"), 1, "[{ type = \"flatten\" }, "));
  expect_wrong(Exit::usage, "another model.layers");
  EXPECT_NO_THROW(read(with({{"model.layers", "[{ type = \"flatten\" }, { type = \"dense\", units = 10 }]"},
                             {"run.seed", "9"},
                             {"train.batch_size", "640"}})));
}

TEST_F(Calibrate, RunsThatAreNone) {
  expect_wrong(Exit::data, "no line of kind balance");
  write_metrics(line(0.01, 0.5));
  std::filesystem::remove(scratch_.file("deck.toml"));
  expect_wrong(Exit::no_input, "deck is missing");
  EXPECT_THROW(read_calibration(scratch_.file("nowhere"), with({})), Error);
}

}  // namespace
}  // namespace lepton::train
