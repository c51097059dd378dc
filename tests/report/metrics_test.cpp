// SPDX-License-Identifier: Apache-2.0
// metrics.jsonl: the lines, and what a restart drops.
#include "report/metrics.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "scratch.h"

namespace lepton::report {
namespace {

TEST(Metrics, one_object_per_line_with_fields_in_order) {
  const Scratch scratch;
  MetricsFile metrics(scratch.path(), 0);
  metrics.write("train", 10, 0.5, {{"loss", 0.1}, {"accuracy", 1}, {"bad", std::nan("")}});
  metrics.write("test", 20, 1, {});
  EXPECT_EQ(read_text(scratch.file("metrics.jsonl")),
            "{\"kind\":\"train\",\"step\":10,\"epoch\":0.5,\"loss\":0.1,\"accuracy\":1.0,\"bad\":null}\n"
            "{\"kind\":\"test\",\"step\":20,\"epoch\":1.0}\n");
}

TEST(Metrics, a_restart_drops_lines_behind_the_state_torn_and_damaged_ones) {
  const Scratch scratch;
  const std::string path = scratch.file("metrics.jsonl");
  {
    MetricsFile metrics(scratch.path(), 0);
    for (const int64_t step : {1, 2, 3, 4}) metrics.write("train", step, 0, {});
  }
  const std::string whole = read_text(path);
  { MetricsFile again(scratch.path(), 4); }
  EXPECT_EQ(read_text(path), whole);
  const size_t line = whole.size() / 4;
  write_text(path, whole.substr(0, line) + "{\"kind\n[1]\n" + whole.substr(line) + "{\"kind\":\"tr");
  MetricsFile metrics(scratch.path(), 2);
  EXPECT_EQ(read_text(path), whole.substr(0, 2 * line));
  metrics.write("train", 3, 0, {});
  EXPECT_EQ(read_text(path), whole.substr(0, 3 * line));
}

BalanceFigures two_nodes() {
  BalanceFigures figures{0.5, 0.25, 20, {}};
  figures.nodes = {{1, 16, 80, 90, 0, 10, 75, 9, 1}, {2, 4, 20, 10, 10, 0, 25, 9, 1}};
  return figures;
}

TEST(Metrics, balance_has_arrays_by_node) {
  const Scratch scratch;
  MetricsFile(scratch.path(), 0).balance(40, 1.5, two_nodes());
  EXPECT_EQ(read_text(scratch.file("metrics.jsonl")),
            "{\"kind\":\"balance\",\"step\":40,\"epoch\":1.5,\"step_s\":0.5,\"units_s\":0.25,"
            "\"efficiency\":0.8,\"speeds\":[75.0,25.0],\"threads\":[16,4],\"planned\":[80,20],"
            "\"done\":[90,10],\"given\":[0,10],\"taken\":[10,0]}\n");
}

TEST(Metrics, balance_of_many_nodes_is_whole) {
  const Scratch scratch;
  BalanceFigures figures;
  figures.nodes.resize(1000);
  MetricsFile(scratch.path(), 0).balance(1, 0, figures);
  const auto line = nlohmann::json::parse(read_text(scratch.file("metrics.jsonl")));
  EXPECT_EQ(line["speeds"].size(), 1000U);
  EXPECT_EQ(line["taken"].size(), 1000U);
  EXPECT_TRUE(line["efficiency"].is_null()) << "nothing was measured";
}

TEST(Metrics, efficiency_is_what_the_speeds_would_take_against_what_it_took) {
  BalanceFigures figures = two_nodes();
  EXPECT_DOUBLE_EQ(figures.efficiency(), 0.8);
  figures.units_s = 0.2;
  EXPECT_DOUBLE_EQ(figures.efficiency(), 1);
  EXPECT_FALSE(std::isfinite(BalanceFigures{}.efficiency()));
}

TEST(Metrics, a_restart_drops_balance_behind_the_state) {
  const Scratch scratch;
  const std::string path = scratch.file("metrics.jsonl");
  std::string kept;
  {
    MetricsFile metrics(scratch.path(), 0);
    metrics.balance(2, 0, two_nodes());
    kept = read_text(path);
    metrics.balance(3, 0, two_nodes());
  }
  MetricsFile(scratch.path(), 2);
  EXPECT_EQ(read_text(path), kept);
}

}  // namespace
}  // namespace lepton::report
