// SPDX-License-Identifier: Apache-2.0
// Lines over files and parts: all of them once, whatever the number of parts; tokens of every kind.
#include "data/text.h"

#include <fstream>

#include "storage/scratch.h"

namespace lepton::data {
namespace {

using testing::expect_error;
using testing::Scratch;

std::string write(const Scratch& scratch, const std::string& name, const std::string& text) {
  std::ofstream(scratch / name, std::ios::binary) << text;
  return scratch / name;
}

TEST(TextFiles, EachLineOnceInOrder) {
  const Scratch scratch;
  std::string long_line(3'000'000, 'x');  // several pieces
  const TextFiles text({write(scratch, "a", "one\n\ntwo\nthree"), write(scratch, "none", ""),
                        write(scratch, "b", "\nfour\n" + long_line + "\nfive\n")});
  std::vector<std::pair<size_t, std::string>> whole;
  text.lines(0, 1, [&](size_t file, std::string_view line) { whole.emplace_back(file, line); });
  ASSERT_EQ(whole.size(), 8u);
  EXPECT_EQ(whole[1], (std::pair<size_t, std::string>{0, "\n"}));
  EXPECT_EQ(whole[3], (std::pair<size_t, std::string>{0, "three"})) << "a last line without its end";
  EXPECT_EQ(whole[4], (std::pair<size_t, std::string>{2, "\n"}));
  EXPECT_EQ(whole[6].second, long_line + "\n");
  for (const int parts : {2, 3, 7, 40}) {
    std::vector<std::pair<size_t, std::string>> together;
    for (int part = 0; part < parts; ++part)
      text.lines(part, parts, [&](size_t file, std::string_view line) { together.emplace_back(file, line); });
    EXPECT_EQ(together, whole) << parts << " parts";
  }
}

TEST(TextFiles, EveryCutOfAShortText) {
  const Scratch scratch;
  const TextFiles text({write(scratch, "a", "a\nbc\n\ndef")});
  for (int parts = 1; parts < 14; ++parts) {
    std::string together;
    for (int part = 0; part < parts; ++part)
      text.lines(part, parts, [&](size_t, std::string_view line) { together += line; });
    EXPECT_EQ(together, "a\nbc\n\ndef") << parts;
  }
}

TEST(TextFiles, Refusals) {
  const Scratch scratch;
  expect_error(Exit::no_input, "missing", [&] { TextFiles({scratch / "missing"}); });
  expect_error(Exit::data, "no text", [&] { TextFiles({write(scratch, "empty", "")}); });
}

std::vector<std::string> tokens(TokenKind kind, std::string_view line, bool ends = true) {
  std::vector<std::string> found;
  for_tokens(kind, line, ends, [&](std::string_view token) { found.emplace_back(token); });
  return found;
}

using List = std::vector<std::string>;

TEST(ForTokens, Bytes) {
  EXPECT_EQ(tokens(TokenKind::bytes, "a\xC3\xA9\n"), (List{"a", "\xC3", "\xA9", "\n"}));
  EXPECT_EQ(tokens(TokenKind::bytes, "ab\n", false), (List{"a", "b"}));
}

TEST(ForTokens, Characters) {
  EXPECT_EQ(tokens(TokenKind::characters, "a\xC3\xA9\xE2\x80\xA6\xF0\x9F\x98\x80\n"),
            (List{"a", "\xC3\xA9", "\xE2\x80\xA6", "\xF0\x9F\x98\x80", "\n"}));
  EXPECT_EQ(tokens(TokenKind::characters, "\xC3", false), List{"\xC3"}) << "cut off";
  EXPECT_EQ(tokens(TokenKind::characters, "\xA9\xC3z", false), (List{"\xA9", "\xC3", "z"})) << "no UTF-8";
}

TEST(ForTokens, Words) {
  EXPECT_EQ(tokens(TokenKind::words, "It's  A\t2nd-rate caf\xC3\xA9!\n"),
            (List{"it's", "a", "2nd", "-", "rate", "caf\xC3\xA9", "!", "\n"}));
  EXPECT_EQ(tokens(TokenKind::words, " end\n", false), List{"end"});
  EXPECT_EQ(tokens(TokenKind::words, " \t", true), List{});
}

}  // namespace
}  // namespace lepton::data
