// SPDX-License-Identifier: Apache-2.0
// The ledger's lines, its chain, and every way in which a restart may find it: complete, behind the state,
// ahead of it, torn, damaged, twice restarted, with another arithmetic.
#include "report/ledger.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "base/failpoint.h"
#include "scratch.h"

namespace lepton::report {
namespace {

LedgerLine sample(int64_t step) {
  LedgerLine line;
  line.step = step;
  line.epoch = step / 4;
  line.samples = 256;
  line.attempts = step == 1 ? 2 : 1;
  line.loss = 1.0 / static_cast<double>(step);
  line.weight = 256;
  line.gradient = 0x1111111111111111 * static_cast<uint64_t>(step % 16);
  line.scales = 3;
  line.parameters = ~static_cast<uint64_t>(step);
  return line;
}

/// Steps [from, to] on a ledger opened after `last`; returns the last line.
std::optional<LedgerLine> run(const Scratch& scratch, std::optional<LedgerLine> last, int64_t to,
                              bool compare = true) {
  Ledger ledger(scratch.path(), last, compare);
  for (int64_t step = last ? last->step + 1 : 1; step <= to; ++step) ledger.append(sample(step));
  ledger.make_durable();
  return ledger.last();
}

std::vector<LedgerLine> lines_of(const Scratch& scratch) {
  int64_t broken_at = 0;
  std::vector<LedgerLine> lines = read_ledger(scratch.file("ledger.txt"), broken_at);
  EXPECT_EQ(broken_at, 0);
  return lines;
}

/// The ledger of an undisturbed run.
std::string undisturbed(int64_t steps) {
  std::string text;
  uint64_t chain = 0;
  for (int64_t step = 1; step <= steps; ++step) {
    LedgerLine line = sample(step);
    chain = line.chain = line.chain_after(chain);
    text += line.encode() + "\n";
  }
  return text;
}

bool set_aside_exists(const Scratch& scratch) {
  return std::filesystem::exists(scratch.file("ledger.set-aside"));
}

TEST(LedgerLine, comes_back_as_it_was) {
  LedgerLine line = sample(7);
  for (const double loss :
       {0.1, -0.0, 1e-310, 1.7976931348623157e308, std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::quiet_NaN()}) {
    line.loss = loss;
    line.skipped = !line.skipped;
    line.note = line.skipped ? "new-arithmetic-class" : "";
    const std::optional<LedgerLine> back = LedgerLine::decode(line.encode());
    ASSERT_TRUE(back) << line.encode();
    EXPECT_EQ(back->encode(), line.encode());
    EXPECT_EQ(back->skipped, line.skipped);
    EXPECT_EQ(back->note, line.note);
  }
  EXPECT_EQ(sample(1).encode(),
            "step=1 epoch=0 samples=256 attempts=2 loss=1 weight=256 gradient=1111111111111111 "
            "scales=0000000000000003 parameters=fffffffffffffffe chain=0000000000000000");
}

TEST(LedgerLine, damaged_text_is_no_line) {
  const std::string text = sample(7).encode();
  for (size_t length = 0; length < text.size(); ++length)
    EXPECT_FALSE(LedgerLine::decode(text.substr(0, length)));
  for (const std::string& bad :
       {" " + text, text + " ", text + " x=1", "step=07" + text.substr(6), "step" + text})
    EXPECT_FALSE(LedgerLine::decode(bad)) << bad;
}

TEST(LedgerLine, chain_sees_every_bit_but_itself) {
  LedgerLine line = sample(7), other = line;
  other.chain = 5;
  EXPECT_EQ(line.chain_after(1), other.chain_after(1));
  EXPECT_NE(line.chain_after(1), line.chain_after(2));
  other.loss = std::nextafter(line.loss, 1);
  EXPECT_NE(line.chain_after(1), other.chain_after(1));
}

TEST(Ledger, one_run) {
  const Scratch scratch;
  run(scratch, std::nullopt, 10);
  EXPECT_EQ(read_text(scratch.file("ledger.txt")), undisturbed(10));
  EXPECT_EQ(lines_of(scratch).size(), 10u);
  EXPECT_FALSE(set_aside_exists(scratch));
}

TEST(Ledger, restart_at_the_last_line) {
  const Scratch scratch;
  run(scratch, run(scratch, std::nullopt, 6), 10);
  EXPECT_EQ(read_text(scratch.file("ledger.txt")), undisturbed(10));
}

TEST(Ledger, lines_behind_the_state_are_set_aside_and_compared) {
  const Scratch scratch;
  run(scratch, std::nullopt, 10);
  const LedgerLine fourth = lines_of(scratch)[3];
  {
    Ledger ledger(scratch.path(), fourth, true);
    EXPECT_EQ(read_text(scratch.file("ledger.txt")), undisturbed(4));
    EXPECT_TRUE(set_aside_exists(scratch));
    for (int64_t step = 5; step <= 9; ++step) ledger.append(sample(step));
    EXPECT_TRUE(set_aside_exists(scratch));
    ledger.append(sample(10));
    EXPECT_FALSE(set_aside_exists(scratch));
    ledger.append(sample(11));
  }
  EXPECT_EQ(read_text(scratch.file("ledger.txt")), undisturbed(11));
}

TEST(Ledger, restart_from_the_very_beginning) {
  const Scratch scratch;
  run(scratch, std::nullopt, 5);
  run(scratch, std::nullopt, 7);
  EXPECT_EQ(read_text(scratch.file("ledger.txt")), undisturbed(7));
}

TEST(Ledger, a_difference_ends_the_run_and_names_step_and_field) {
  const std::vector<std::pair<std::string, std::function<void(LedgerLine&)>>> changes = {
      {"loss", [](LedgerLine& line) { line.loss = std::nextafter(line.loss, 1); }},
      {"attempts", [](LedgerLine& line) { ++line.attempts; }},
      {"gradient", [](LedgerLine& line) { line.gradient ^= 1; }},
      {"parameters", [](LedgerLine& line) { line.parameters ^= 1; }},
      {"skipped", [](LedgerLine& line) { line.skipped = true; }},
      {"note", [](LedgerLine& line) { line.note = "x"; }}};
  for (const auto& [name, change] : changes) {
    const Scratch scratch;
    run(scratch, std::nullopt, 6);
    Ledger ledger(scratch.path(), lines_of(scratch)[3], true);
    LedgerLine line = sample(5);
    change(line);
    try {
      ledger.append(line);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::software);
      EXPECT_EQ(error.where(), "step 5");
      EXPECT_NE(error.problem().find("'" + name + "'"), std::string::npos) << error.problem();
    }
    EXPECT_TRUE(set_aside_exists(scratch));
    EXPECT_EQ(read_text(scratch.file("ledger.txt")), undisturbed(4));  // the wrong line was not written
  }
}

TEST(Ledger, restarted_again_before_all_was_recomputed) {
  const Scratch scratch;
  run(scratch, std::nullopt, 10);
  const std::vector<LedgerLine> lines = lines_of(scratch);
  run(scratch, lines[3], 6);                      // killed after step 6
  run(scratch, lines[4], 7);                      // again, from a newer state
  Ledger ledger(scratch.path(), lines[1], true);  // and from an older one
  for (int64_t step = 3; step <= 9; ++step) ledger.append(sample(step));
  LedgerLine wrong = sample(10);
  wrong.parameters ^= 1;
  EXPECT_THROW(ledger.append(wrong), Error);  // step 10 of the first start is still known
}

TEST(Ledger, not_compared_after_a_change_of_class) {
  const Scratch scratch;
  run(scratch, std::nullopt, 10);
  const LedgerLine fourth = lines_of(scratch)[3];
  {
    Ledger ledger(scratch.path(), fourth, false);
    LedgerLine line = sample(5);
    line.note = "new-arithmetic-class";
    line.parameters = 99;
    ledger.append(line);
  }
  EXPECT_FALSE(set_aside_exists(scratch));
  const std::string kept = read_text(scratch.file("ledger.not-compared"));
  EXPECT_EQ(std::count(kept.begin(), kept.end(), '\n'), 6);
  const LedgerLine fifth = lines_of(scratch)[4];
  EXPECT_EQ(fifth.note, "new-arithmetic-class");
  run(scratch, fifth, 12);  // compares again, and not with lines of the old class
  EXPECT_EQ(lines_of(scratch).size(), 12u);
}

TEST(Ledger, a_torn_last_line_is_dropped) {
  for (const size_t lost : {size_t{1}, size_t{20}}) {
    const Scratch scratch;
    run(scratch, std::nullopt, 6);
    const std::vector<LedgerLine> lines = lines_of(scratch);
    const std::string text = read_text(scratch.file("ledger.txt"));
    write_text(scratch.file("ledger.txt"), text.substr(0, text.size() - lost));
    EXPECT_EQ(lines_of(scratch).size(), 5u);
    if (lost == 1) run(scratch, lines[3], 8);  // torn behind the state
    if (lost != 1) run(scratch, lines[5], 8);  // the torn line is the state's own: appended from it
    EXPECT_EQ(read_text(scratch.file("ledger.txt")), undisturbed(8));
  }
}

TEST(Ledger, a_missing_last_line_is_appended) {
  const Scratch scratch;
  const LedgerLine sixth = *run(scratch, std::nullopt, 6);
  write_text(scratch.file("ledger.txt"), undisturbed(5));
  run(scratch, sixth, 8);
  EXPECT_EQ(read_text(scratch.file("ledger.txt")), undisturbed(8));
  std::filesystem::remove(scratch.file("ledger.txt"));
  run(scratch, sixth, 7);  // a ledger that starts in the middle is intact
  EXPECT_EQ(lines_of(scratch).size(), 2u);
}

TEST(Ledger, a_damaged_line_is_found_and_does_not_stop_a_run) {
  for (const int64_t damaged : {2, 4, 5}) {
    const Scratch scratch;
    run(scratch, std::nullopt, 6);
    const LedgerLine fourth = lines_of(scratch)[3];
    std::string text = undisturbed(damaged - 1);
    const size_t at = text.size() + 40;
    text = undisturbed(6);
    text[at] = static_cast<char>(text[at] ^ 1);
    write_text(scratch.file("ledger.txt"), text);
    int64_t broken_at = 0;
    EXPECT_EQ(static_cast<int64_t>(read_ledger(scratch.file("ledger.txt"), broken_at).size()), damaged - 1);
    EXPECT_EQ(broken_at, damaged);
    Ledger ledger(scratch.path(), fourth, true);
    if (damaged != 5) ledger.append(sample(5));
    EXPECT_EQ(ledger.last()->chain, damaged == 5 ? fourth.chain : sample(5).chain_after(fourth.chain));
  }
}

TEST(Ledger, read_checks_the_chain_and_the_order) {
  const Scratch scratch;
  const std::string two = undisturbed(2), three = undisturbed(3);
  int64_t broken_at = -1;
  EXPECT_TRUE(read_ledger(scratch.file("missing"), broken_at).empty());
  EXPECT_EQ(broken_at, 0);
  write_text(scratch.file("a"), two + two);
  EXPECT_EQ(read_ledger(scratch.file("a"), broken_at).size(), 2u);
  EXPECT_EQ(broken_at, 3);
  LedgerLine forged = sample(3);
  forged.chain = forged.chain_after(1);
  write_text(scratch.file("a"), two + forged.encode() + "\n");
  EXPECT_EQ(read_ledger(scratch.file("a"), broken_at).size(), 2u);
  EXPECT_EQ(broken_at, 3);
}

TEST(Ledger, a_failure_before_the_line_writes_nothing) {
  const Scratch scratch;
  Ledger ledger(scratch.path(), std::nullopt, true);
  ledger.append(sample(1));
  arm_failpoints("point=ledger,action=error");
  EXPECT_THROW(ledger.append(sample(2)), Error);
  arm_failpoints("");
  ledger.append(sample(2));
  EXPECT_EQ(read_text(scratch.file("ledger.txt")), undisturbed(2));
}

TEST(Ledger, SeveralLossesAreFieldsOfTheLine) {
  LedgerLine line = sample(3);
  const std::string before = line.encode();
  line.losses = {{"age", 0.25}, {"kind-2", 1.5}};
  line.chain = line.chain_after(7);
  const std::string text = line.encode();
  EXPECT_NE(text.find(" loss.age=0.25 loss.kind-2=1.5 weight="), std::string::npos) << text;
  EXPECT_EQ(before.find("loss."), std::string::npos);
  const auto again = LedgerLine::decode(text);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->losses, line.losses);
  EXPECT_EQ(again->encode(), text);
  LedgerLine other = line;
  other.losses[0].second = 0.5;
  EXPECT_NE(other.chain_after(7), line.chain) << "part of what is chained";
}

}  // namespace
}  // namespace lepton::report
