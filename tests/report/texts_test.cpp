// SPDX-License-Identifier: Apache-2.0
// Numbers as text at the edges of their units, and the closing table.
#include "report/texts.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lepton::report {
namespace {

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
  EXPECT_EQ(summary_table({a, b}),
            " rank     units         time       data    compute        sum  optimizer       wait "
            "checkpoint  "
            "  other\n"
            "    0       100         10 s     10.0 %     60.0 %     10.0 %     10.0 %      4.0 %  "
            "    2.5 %  "
            "  3.5 %\n"
            "    1        50         10 s      0.0 %    100.0 %      0.0 %      0.0 %      0.0 %  "
            "    0.0 %  "
            "  0.0 %\n"
            " mean        75         10 s      3.4 %     87.7 %      3.4 %      3.4 %      1.3 %  "
            "    0.8 %  "
            "  0.0 %\n");
}

TEST(Texts, summary_of_one_none_and_many) {
  EXPECT_EQ(summary_table({RankTimes{}}).find("mean"), std::string::npos);
  EXPECT_FALSE(summary_table({}).empty());
  const std::string many = summary_table(std::vector<RankTimes>(70));
  EXPECT_NE(many.find("6 more ranks"), std::string::npos);
  EXPECT_NE(many.find("mean"), std::string::npos);
}

}  // namespace
}  // namespace lepton::report
