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

}  // namespace
}  // namespace lepton::report
