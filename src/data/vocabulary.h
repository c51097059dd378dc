// SPDX-License-Identifier: Apache-2.0
// Vocabulary: tokens and their numbers. Words and characters are counted in parallel over the ranks; what
// comes out does not depend on how many there are: by count, equal counts by bytes (words), or by bytes
// (characters). Memory is bounded: where a rank's table would grow too large, all count in several passes,
// each for the tokens whose hash falls into its part. Stored beside the data as three arrays (see
// store_arrays). Called by train/prepare and train/generate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "comm/world.h"
#include "data/text.h"

namespace lepton::data {

/// Of labelled text (rows of one length) and of words: what fills short rows, and words that have no number.
inline constexpr int64_t padding_token = 0, unknown_token = 1;

struct VocabularySpec {
  TokenKind kind = TokenKind::characters;
  int64_t words_most = 20000;    ///< numbers, padding and unknown included
  bool padded = false;           ///< rows need padding: it is number 0 (of bytes: the byte 0)
  bool line_ends = true;         ///< the end of a line is a token
  int64_t table_most = 1 << 22;  ///< tokens that all ranks together keep at a time
};

class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(TokenKind kind, std::vector<std::string> tokens);

  TokenKind kind() const { return kind_; }
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  const std::string& token(int64_t number) const { return tokens_[static_cast<size_t>(number)]; }
  /// Unknown words get unknown_token; other tokens that are not in it -1.
  int64_t number(std::string_view token) const;
  /// Numbers of a whole text's tokens. Throws Error(usage) for a character that is not in it.
  std::vector<int64_t> encode(std::string_view text) const;
  /// Appends a token to a text: a word behind a space, unless it begins the text or a line.
  void append(int64_t number, std::string& text) const;
  /// Text again.
  std::string decode(const std::vector<int64_t>& numbers) const;

 private:
  TokenKind kind_ = TokenKind::bytes;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, int64_t> numbers_;
};

/// **Collective.**
Vocabulary count_vocabulary(const comm::World& world, const TextFiles& text, const VocabularySpec& spec);

/// As arrays: `bytes` of all tokens, `offsets` of each in them and the end, `kind`.
struct StoredVocabulary {
  std::vector<uint8_t> bytes, kind;
  std::vector<int64_t> offsets;
};
StoredVocabulary stored(const Vocabulary& vocabulary);
/// From the file in which they lie under vocabulary/. Throws Error(no_input, data).
Vocabulary read_vocabulary(const std::string& file);

}  // namespace lepton::data
