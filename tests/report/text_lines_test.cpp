// SPDX-License-Identifier: Apache-2.0
// Only lines that have their newline count.
#include "report/text_lines.h"

#include "scratch.h"

namespace lepton::report {
namespace {

TEST(TextLines, whole_lines_and_torn_ones) {
  const Scratch scratch;
  bool torn = true;
  EXPECT_TRUE(read_whole_lines(scratch.file("missing"), torn).empty());
  EXPECT_FALSE(torn);
  write_text(scratch.file("a"), "one\n\nthree\n");
  const std::vector<std::string> lines = read_whole_lines(scratch.file("a"), torn);
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "", "three"}));
  EXPECT_FALSE(torn);
  EXPECT_EQ(joined_lines(lines), "one\n\nthree\n");
  write_text(scratch.file("a"), "one\ntw");
  EXPECT_EQ(read_whole_lines(scratch.file("a"), torn), std::vector<std::string>{"one"});
  EXPECT_TRUE(torn);
}

}  // namespace
}  // namespace lepton::report
