// SPDX-License-Identifier: Apache-2.0
// Vocabularies: the same on any number of ranks and in any number of passes; order, limits, numbers, storage.
#include "data/vocabulary.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.h"
#include "base/philox.h"
#include "errors.h"
#include "storage/hdf5.h"

namespace lepton::data {
namespace {

class VocabularyTest : public ::testing::Test {
 protected:
  VocabularyTest() {
    path_ = ::testing::TempDir() + "lepton-vocabulary-" + std::to_string(getpid());
    world_.broadcast(path_);
    if (world_.rank() == 0) std::filesystem::create_directories(path_);
    world_.barrier();
  }
  ~VocabularyTest() override {
    world_.barrier();
    std::error_code ignored;
    if (world_.rank() == 0) std::filesystem::remove_all(path_, ignored);
  }
  /// **Collective.** Rank 0 writes the text.
  TextFiles text(const std::string& content) {
    if (world_.rank() == 0) std::ofstream(path_ + "/text", std::ios::binary) << content;
    world_.barrier();
    return TextFiles({path_ + "/text"});
  }
  static std::vector<std::string> tokens(const Vocabulary& vocabulary) {
    std::vector<std::string> all;
    for (int64_t i = 0; i < vocabulary.size(); ++i) all.push_back(vocabulary.token(i));
    return all;
  }
  const comm::World world_{60, 1000};
  std::string path_;
};

using List = std::vector<std::string>;

TEST_F(VocabularyTest, WordsByCountThenByBytes) {
  const TextFiles some = text("b a c\nb b d\nc\ne . .\n");
  VocabularySpec spec{.kind = TokenKind::words};
  EXPECT_EQ(tokens(count_vocabulary(world_, some, spec)),
            (List{"", "<unknown>", "\n", "b", ".", "c", "a", "d", "e"}));
  spec.words_most = 5;
  spec.line_ends = false;
  const Vocabulary few = count_vocabulary(world_, some, spec);
  EXPECT_EQ(tokens(few), (List{"", "<unknown>", "b", ".", "c"}));
  EXPECT_EQ(few.number("b"), 2);
  EXPECT_EQ(few.number("zebra"), unknown_token);
  EXPECT_EQ(few.encode("B zebra ."), (std::vector<int64_t>{2, 1, 3}));
  EXPECT_EQ(few.decode({2, 3}), "b .");
}

TEST_F(VocabularyTest, CharactersByBytes) {
  VocabularySpec spec{.kind = TokenKind::characters};
  const TextFiles some = text("cab\xC3\xA9\n");
  const Vocabulary found = count_vocabulary(world_, some, spec);
  EXPECT_EQ(tokens(found), (List{"\n", "a", "b", "c", "\xC3\xA9"}));
  EXPECT_EQ(found.decode(found.encode("b\xC3\xA9\na")), "b\xC3\xA9\na");
  expect_error_of([&] { found.encode("x"); }, Exit::usage, {"'x' is not in the vocabulary"});
  spec.padded = true;
  EXPECT_EQ(tokens(count_vocabulary(world_, some, spec)).front(), "");
  spec.kind = TokenKind::bytes;
  EXPECT_EQ(count_vocabulary(world_, some, spec).size(), 256);
}

/// Against one table of everything, with so little room that many passes are needed.
TEST_F(VocabularyTest, SeveralPassesGiveTheSame) {
  std::string content;
  std::map<std::string, int64_t> counts;
  for (uint32_t i = 0; i < 30000; ++i) {
    const uint32_t drawn = philox4x32(5, {i, 0, 0, 0})[0] % 5000;
    const std::string word = "w" + std::to_string(drawn * drawn % 4999);
    ++counts[word];
    content += word + (i % 7 == 0 ? "\n" : " ");
  }
  List expected = {"", "<unknown>"};
  std::vector<std::pair<int64_t, std::string>> order;
  for (const auto& [word, count] : counts) order.emplace_back(-count, word);
  std::sort(order.begin(), order.end());
  for (const auto& [count, word] : order) expected.push_back(word);
  VocabularySpec spec{.kind = TokenKind::words, .line_ends = false};
  const TextFiles some = text(content);
  EXPECT_EQ(tokens(count_vocabulary(world_, some, spec)), expected);
  spec.table_most = 1;  // the least: 1,024 words of a rank
  EXPECT_EQ(tokens(count_vocabulary(world_, some, spec)), expected);
  spec.words_most = 100;
  expected.resize(100);
  EXPECT_EQ(tokens(count_vocabulary(world_, some, spec)), expected);
}

TEST_F(VocabularyTest, IsStoredAndReadAgain) {
  if (world_.rank() != 0) return;
  const Vocabulary vocabulary(TokenKind::words, {"", "<unknown>", "word", "\n", "caf\xC3\xA9"});
  const auto write = [&](const StoredVocabulary& arrays) {
    storage::Hdf5Image image;
    image.add("vocabulary/bytes", {storage::StoredType::Kind::unsigned_integer, 1},
              {std::ssize(arrays.bytes)}, std::as_bytes(std::span(arrays.bytes)));
    image.add("vocabulary/offsets", {storage::StoredType::Kind::signed_integer, 8},
              {std::ssize(arrays.offsets)}, std::as_bytes(std::span(arrays.offsets)));
    image.add("vocabulary/kind", {storage::StoredType::Kind::unsigned_integer, 1}, {std::ssize(arrays.kind)},
              std::as_bytes(std::span(arrays.kind)));
    const std::vector<std::byte> bytes = image.pieces().joined();
    std::ofstream(path_ + "/v.h5", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    return path_ + "/v.h5";
  };
  const Vocabulary again = read_vocabulary(write(stored(vocabulary)));
  EXPECT_EQ(tokens(again), tokens(vocabulary));
  EXPECT_EQ(again.kind(), TokenKind::words);
  EXPECT_EQ(again.decode({2, 4, 3, 2}), "word caf\xC3\xA9\nword");
  StoredVocabulary damaged = stored(vocabulary);
  damaged.offsets[2] = 1000;
  expect_error_of([&] { read_vocabulary(write(damaged)); }, Exit::data, {"v.h5", "damaged"});
  damaged = stored(vocabulary);
  damaged.kind = {3};
  expect_error_of([&] { read_vocabulary(write(damaged)); }, Exit::data, {"v.h5", "damaged"});
}

}  // namespace
}  // namespace lepton::data
