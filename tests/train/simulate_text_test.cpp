// SPDX-License-Identifier: Apache-2.0
// The report for people: every figure of the JSON that it promises, in tables of at most 100 columns, and
// words where a figure is infinite.
#include <gtest/gtest.h>

#include <limits>
#include <sstream>

#include "train/simulate.h"

namespace lepton::train {
namespace {

using Json = nlohmann::ordered_json;

Json sample_report() {
  Json size = {
      {"ranks", 10000}, {"machines", 1250}, {"nodes", 1250}, {"threads", 10000}, {"units_per_thread", 32.0}};
  size["step"] = {{"seconds", 0.425}, {"units_s", 0.418}};
  size["efficiency"] = {{"units", 0.982}, {"whole_units", 0.995}, {"step", 0.966}};
  size["samples_per_second"] = 753151.0;
  size["stealing"] = {{"rank_0_messages", 123.5}, {"rank_0_busy", 0.0022}};
  size["run"] = {{"seconds", 25493.0}, {"node_hours", 8851.7}};
  size["checkpoints"] = {{"write_s", 0.0513}, {"best_interval_s", 122.0}};
  size["checkpoints"]["with_best"] = {{"seconds", 25544.0}, {"node_hours", 8869.0}, {"waste", 0.00213}};
  size["checkpoints"]["with_deck"] = {{"waste", 0.0004}};
  Json report = {{"deck", "d.toml"}};
  report["run"] = {{"units", 320000},       {"unit_size", 1},    {"steps_per_epoch", 1}, {"steps", 30},
                   {"parameters", 1077258}, {"policy", "steal"}, {"simulated_steps", 6}, {"seed", 7}};
  report["cluster"] = {{"file", "c.toml"}, {"machines", 1250}, {"ranks", 10000}};
  report["cluster"]["nodes"] = {
      {{"count", 1250}, {"ranks", 8}, {"threads", 1}, {"device", "cpu"}, {"unit_ms", 12.5}, {"noise", 0.02}}};
  report["cluster"]["network"] = {{"latency_us", 2.0}, {"gigabytes_per_second", 10.0}};
  report["cluster"]["file_system"] = {{"gigabytes_per_second", 20.0}, {"commit_ms", 50.0}};
  report["cluster"]["failures"] = {{"node_mtbf_hours", 50000.0}, {"restart_s", 120.0}};
  report["cluster"]["assumed"] = {"failures"};
  report["sizes"].push_back(size);
  report["warnings"] = {"too few units."};
  return report;
}

void expect_says(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << part << " not in\n" << text;
}

TEST(SimulateText, SaysWhatWasAssumedAndWhatCameOut) {
  const std::string text = simulate_text(sample_report());
  expect_says(text,
              {"d.toml: 320000 units of at most 1 sample in a step, 1 step per epoch, 30 in all",
               "c.toml: 10000 ranks on 1250 machines", "1250 x 8 ranks of 1 thread, cpu: 12.5 ms per unit",
               "2 us and 10 GB/s between them, 20 GB/s to files",
               "fails every 50.0k hours, a restart takes 2 min 00 s",
               "assumed, as the file does not tell: [failures]", "6 steps, policy steal, seed 7",
               "warning: too few units.\n"});
  expect_says(text, {"10000   1250", "425 ms", "7 ms", "753k", "98.2 %", "99.5 %", "96.6 %", "124", "0.2 %"});
  expect_says(text, {"7 h 05 min", "8.85k", "51.3 ms", "2 min 02 s", "7 h 06 min", "8.87k", "0.04 %"});
  EXPECT_EQ(text.find("from "), std::string::npos);
}

TEST(SimulateText, TablesFitAHundredColumns) {
  std::istringstream lines(simulate_text(sample_report()));
  int tables = 0;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) {
      ++tables;
      inside = true;
    }
    if (line.starts_with("warning")) inside = false;
    if (inside) {
      EXPECT_LE(line.size(), 100u) << line;
    }
  }
  EXPECT_EQ(tables, 2);
}

TEST(SimulateText, WhatNeverEndsIsSaidSo) {
  Json report = sample_report();
  Json& best = report["sizes"][0]["checkpoints"]["with_best"];
  best = {{"seconds", nullptr}, {"node_hours", nullptr}, {"waste", nullptr}};
  expect_says(simulate_text(report), {"never", "100 %"});
  best["seconds"] = std::numeric_limits<double>::infinity();
  best["node_hours"] = best["seconds"];
  expect_says(simulate_text(report), {"   never ", "100 %"});
}

TEST(SimulateText, TellsOfTheMeasuringRun) {
  Json report = sample_report();
  report["calibration"] = {{"run", "runs/x"},
                           {"lines", 3},
                           {"ranks", 2},
                           {"nodes", 1},
                           {"threads", 2},
                           {"unit_ms", 20.0},
                           {"slowest_unit_ms", 25.0},
                           {"fastest_unit_ms", 18.0},
                           {"rest_ms", 0.5},
                           {"efficiency", 0.93}};
  expect_says(simulate_text(report),
              {"from        runs/x: 20 ms per unit (nodes 18 ms to 25 ms), 500 us of a step",
               "1 node, 2 threads, efficiency 93.0 %"});
}

}  // namespace
}  // namespace lepton::train
