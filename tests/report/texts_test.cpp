// SPDX-License-Identifier: Apache-2.0
// Numbers as text at the edges of their units, the closing tables and their bars, and the warning.
#include "report/texts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

namespace lepton::report {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(Texts, durations) {
  EXPECT_EQ(duration_text(0), "0.0 s");
  EXPECT_EQ(duration_text(0.44), "0.4 s");
  EXPECT_EQ(duration_text(9.94), "9.9 s");
  EXPECT_EQ(duration_text(9.96), "10 s");
  EXPECT_EQ(duration_text(59.6), "1 min 00 s");
  EXPECT_EQ(duration_text(185), "3 min 05 s");
  EXPECT_EQ(duration_text(3599.7), "1 h 00 min");
  EXPECT_EQ(duration_text(3780), "1 h 03 min");
  EXPECT_EQ(duration_text(86399), "1 d 00 h");
  EXPECT_EQ(duration_text(2 * 86400 + 3 * 3600), "2 d 03 h");
  EXPECT_EQ(duration_text(-1), "?");
  EXPECT_EQ(duration_text(std::nan("")), "?");
  EXPECT_EQ(duration_text(INFINITY), "?");
}

TEST(Texts, bytes) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1024), "1.0 KiB");
  EXPECT_EQ(bytes_text(3.2 * 1024 * 1024 * 1024), "3.2 GiB");
  EXPECT_EQ(bytes_text(1024 * 1024 - 1), "1.0 MiB");
}

TEST(Texts, counts) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(7), "7");
  EXPECT_EQ(count_text(0.00412), "0.00412");
  EXPECT_EQ(count_text(0.0994), "0.0994");
  EXPECT_EQ(count_text(0.0999), "0.10");
  EXPECT_EQ(count_text(7.25), "7.25");
  EXPECT_EQ(count_text(850.4), "850");
  EXPECT_EQ(count_text(999.9), "1.00k");
  EXPECT_EQ(count_text(12345), "12.3k");
  EXPECT_EQ(count_text(105000), "105k");
  EXPECT_EQ(count_text(1.2e6), "1.20M");
}

TEST(Texts, summary_of_two_ranks) {
  RankTimes a, b;
  a.data_s = 1, a.compute_s = 6, a.sum_s = 1, a.optimizer_s = 1, a.wait_s = 0.4, a.checkpoint_s = 0.25;
  a.total_s = 10, a.units = 100;
  b.compute_s = 20, b.total_s = 10, b.units = 50;  // two threads: busy for longer than the wall clock
  b.node = 3;
  EXPECT_EQ(
      summary_table({a, b}),
      " rank node    units        time compute   sum update  data saving  wait other\n"
      "    0    0      100        10 s    60.0  10.0   10.0  10.0    2.5   4.0   3.5 |############++uudds |\n"
      "    1    3       50        10 s   100.0   0.0    0.0   0.0    0.0   0.0   0.0 |####################|\n"
      " mean            75        10 s    87.7   3.4    3.4   3.4    0.8   1.3   0.0 |##################ud|\n"
      " in percent: # compute, + sum, u update, d data, s saving, . wait, blank other\n");
}

TEST(Texts, bars_of_the_summary_show_every_phase_and_leave_the_rest_blank) {
  RankTimes times;
  for (double RankTimes::*phase : {&RankTimes::data_s, &RankTimes::compute_s, &RankTimes::sum_s,
                                   &RankTimes::optimizer_s, &RankTimes::wait_s, &RankTimes::checkpoint_s})
    times.*phase = 1;
  times.total_s = 10;
  EXPECT_TRUE(lines_of(summary_table({times}))[1].ends_with(" |##++uuddss..        |"));
  EXPECT_TRUE(lines_of(summary_table({RankTimes{}}))[1].ends_with(" |                    |"));
}

TEST(Texts, summary_of_one_none_and_many) {
  EXPECT_EQ(summary_table({RankTimes{}}).find("mean"), std::string::npos);
  EXPECT_FALSE(summary_table({}).empty());
  const std::string many = summary_table(std::vector<RankTimes>(70));
  EXPECT_NE(many.find("6 more ranks"), std::string::npos);
  EXPECT_NE(many.find("mean"), std::string::npos);
}

TEST(Texts, tables_fit_100_columns) {
  RankTimes times;
  times.compute_s = times.total_s = 3599;
  times.units = 99'999'999;
  times.node = 9999;
  for (const std::string& line : lines_of(summary_table(std::vector<RankTimes>(3, times))))
    EXPECT_LE(line.size(), 100U) << line;
  NodeWork node{8, 128, 999'999'999, 999'999'999, 99'999'999, 99'999'999, 1234.5, 100, 0};
  for (const std::string& line : lines_of(balance_table(std::vector<NodeWork>(3, node))))
    EXPECT_LE(line.size(), 100U) << line;
}

TEST(Texts, balance_of_two_nodes) {
  const NodeWork fast{1, 16, 800, 1000, 0, 200, 250.25, 75, 25};
  const NodeWork slow{2, 4, 400, 200, 200, 0, 0.5, 1, 39};
  EXPECT_EQ(
      balance_table({fast, slow}),
      " node ranks threads   units/s   planned      done     given     taken  busy  # busy . waiting\n"
      "    0     1      16       250       800      1000         0       200  75.0 |###############.....|\n"
      "    1     2       4      0.50       400       200       200         0   2.5 |#...................|\n"
      "total     3      20       251      1200      1200       200       200  54.3 |###########.........|\n");
}

TEST(Texts, a_node_without_times_has_an_empty_bar) {
  EXPECT_TRUE(lines_of(balance_table({NodeWork{}}))[1].ends_with("     - |                    |"));
  EXPECT_EQ(lines_of(balance_table({})).size(), 2U);
}

/// Numbers of the nodes that have a row.
std::vector<int> shown_nodes(const std::string& table) {
  std::vector<int> shown;
  for (const std::string& line : lines_of(table))
    if (line.ends_with("|") && !line.starts_with("total")) shown.push_back(std::stoi(line));
  return shown;
}

TEST(Texts, of_many_nodes_the_slowest_the_middle_and_the_fastest) {
  std::vector<NodeWork> nodes(32);
  for (size_t i = 0; i < nodes.size(); ++i) nodes[i].done = nodes[i].planned = 1;
  EXPECT_EQ(shown_nodes(balance_table(nodes)).size(), 32U);
  EXPECT_EQ(balance_table(nodes).find("slowest"), std::string::npos);
  nodes.resize(100);
  for (int i = 0; i < 100; ++i) nodes[i] = NodeWork{1, 2, 3, 4, 5, 6, 100.0 - i, 1, 1};
  const std::string table = balance_table(nodes);
  EXPECT_EQ(shown_nodes(table), (std::vector<int>{99, 98, 97, 96, 95, 94, 93, 92, 53, 52, 51, 50,
                                                  49, 48, 47, 46, 7,  6,  5,  4,  3,  2,  1,  0}));
  for (const char* said : {"the 8 slowest of 100 nodes:", "8 in the middle by speed:", "the 8 fastest:"})
    EXPECT_NE(table.find(said), std::string::npos) << said;
  EXPECT_EQ(lines_of(table).back(),
            "total   100     200     5.05k       300       400       500       600  50.0 "
            "|##########..........|");
}

TEST(Texts, equal_speeds_keep_the_order_of_nodes) {
  const std::vector<int> shown = shown_nodes(balance_table(std::vector<NodeWork>(33)));
  EXPECT_EQ(shown, (std::vector<int>{0,  1,  2,  3,  4,  5,  6,  7,  12, 13, 14, 15,
                                     16, 17, 18, 19, 25, 26, 27, 28, 29, 30, 31, 32}));
}

TEST(Texts, units_that_are_too_coarse) {
  EXPECT_EQ(coarse_units_text(20, 16, 0.375, 16, 0.05),
            "a step has 20 units for 16 compute threads: even a perfect plan of whole units leaves 38 % of "
            "their time idle, which stealing cannot cure; a unit_size of 16 would leave 5 % (it is a "
            "mathematical key).");
  const std::string one = coarse_units_text(1, 1, 0.5, 8, 0);
  EXPECT_EQ(one.find("a step has 1 unit for 1 compute thread: "), 0U) << one;
  EXPECT_NE(one.find("would leave none ("), std::string::npos) << one;
  EXPECT_NE(coarse_units_text(2, 2, 0.5, 8, 0.004).find("would leave less than 1 % ("), std::string::npos);
}

TEST(Texts, no_unit_size_is_recommended_that_is_not_better) {
  for (const std::string& text :
       {coarse_units_text(3, 4, 0.25, 0, 0), coarse_units_text(3, 4, 0.25, 2, 0.25)}) {
    EXPECT_EQ(text.find("a unit_size of"), std::string::npos) << text;
    EXPECT_NE(text.find("no smaller unit_size would do better: use fewer threads"), std::string::npos)
        << text;
  }
}

}  // namespace
}  // namespace lepton::report
