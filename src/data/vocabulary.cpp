// SPDX-License-Identifier: Apache-2.0
// Counting, choosing, storing; see the header.
#include "data/vocabulary.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "comm/pack.h"
#include "storage/hdf5.h"

namespace lepton::data {

namespace {

using Counts = std::unordered_map<std::string, int64_t>;
using Counted = std::vector<std::pair<std::string, int64_t>>;

/// More often first, then by bytes: the same on all ranks.
bool before(const std::pair<std::string, int64_t>& a, const std::pair<std::string, int64_t>& b) {
  return a.second != b.second ? a.second > b.second : a.first < b.first;
}

void keep_first(Counted& counted, int64_t most) {
  std::sort(counted.begin(), counted.end(), before);
  if (std::ssize(counted) > most) counted.resize(static_cast<size_t>(most));
}

uint64_t hash_of(std::string_view token) {
  return hash64(token);
}

/// This rank's tokens of pass `pass` of `passes`; false where they are more than `most`.
bool count_own(const comm::World& world, const TextFiles& text, const VocabularySpec& spec, uint64_t pass,
               uint64_t passes, size_t most, Counts& counts) {
  text.lines(world.rank(), world.size(), [&](size_t, std::string_view line) {
    if (counts.size() > most) return;
    for_tokens(spec.kind, line, spec.line_ends, [&](std::string_view token) {
      if (hash_of(token) / static_cast<uint64_t>(world.size()) % passes == pass) ++counts[std::string(token)];
    });
  });
  return counts.size() <= most;
}

/// The most frequent of a pass over all ranks, in order.
Counted merge(const comm::World& world, const Counts& own, int64_t most) {
  // Each rank adds up the tokens whose hash is its own.
  const Counted list(own.begin(), own.end());
  Counts mine;
  for (const std::string& packed : world.all_gather(comm::pack(list)))
    for (const auto& [token, count] : comm::unpack<Counted>(packed, "counts of tokens"))
      if (hash_of(token) % static_cast<uint64_t>(world.size()) == static_cast<uint64_t>(world.rank()))
        mine[token] += count;
  Counted first(mine.begin(), mine.end());
  keep_first(first, most);
  Counted all;
  for (const std::string& packed : world.all_gather(comm::pack(first))) {
    const auto theirs = comm::unpack<Counted>(packed, "the most frequent tokens");
    all.insert(all.end(), theirs.begin(), theirs.end());
  }
  keep_first(all, most);
  return all;
}

/// All tokens, the most frequent first, no more than `most`.
Counted most_frequent(const comm::World& world, const TextFiles& text, const VocabularySpec& spec,
                      int64_t most) {
  const size_t table =
      std::max<size_t>(1024, static_cast<size_t>(spec.table_most) / static_cast<size_t>(world.size()) / 2);
  for (uint64_t passes = 1;; passes *= 2) {
    Counted found;
    bool fits = true;
    for (uint64_t pass = 0; pass < passes && fits; ++pass) {
      Counts own;
      comm::agree(world, [&] { fits = count_own(world, text, spec, pass, passes, table, own); });
      int64_t too_many[1] = {!fits};
      world.all_max(too_many);
      fits = too_many[0] == 0;
      if (!fits) break;
      const Counted more = merge(world, own, most);
      found.insert(found.end(), more.begin(), more.end());
      keep_first(found, most);
    }
    if (fits) return found;
  }
}

std::vector<std::byte> read_all(const std::string& file, const std::string& path, size_t element_bytes) {
  const storage::Hdf5Array array(file, path);
  const storage::ArrayInfo& info = array.info();
  REQUIRE(info.shape.size() == 1 && info.type.bytes == static_cast<int>(element_bytes) &&
              info.type.kind != storage::StoredType::Kind::floating && !info.type.big_endian,
          Exit::data, file + ":" + path, "it is no part of a vocabulary",
          "Make the file with lepton prepare.");
  std::vector<std::byte> bytes(static_cast<size_t>(info.shape[0]) * element_bytes);
  array.read_rows(0, info.shape[0], bytes);
  return bytes;
}

}  // namespace

Vocabulary::Vocabulary(TokenKind kind, std::vector<std::string> tokens)
    : kind_(kind), tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) numbers_.emplace(tokens_[i], static_cast<int64_t>(i));
}

int64_t Vocabulary::number(std::string_view token) const {
  const auto found = numbers_.find(std::string(token));
  if (found != numbers_.end()) return found->second;
  return kind_ == TokenKind::words ? unknown_token : -1;
}

std::vector<int64_t> Vocabulary::encode(std::string_view text) const {
  std::vector<int64_t> numbers;
  for_tokens(kind_, text, true, [&](std::string_view token) {
    numbers.push_back(number(token));
    REQUIRE(numbers.back() >= 0, Exit::usage, "--prompt",
            "the character '" + std::string(token) + "' is not in the vocabulary", "");
  });
  return numbers;
}

void Vocabulary::append(int64_t number, std::string& text) const {
  const bool apart = kind_ == TokenKind::words && !text.empty() && !text.ends_with('\n');
  text += (apart && token(number) != "\n" ? " " : "") + token(number);
}

std::string Vocabulary::decode(const std::vector<int64_t>& numbers) const {
  std::string text;
  for (const int64_t number : numbers) append(number, text);
  return text;
}

Vocabulary count_vocabulary(const comm::World& world, const TextFiles& text, const VocabularySpec& spec) {
  std::vector<std::string> tokens;
  if (spec.kind == TokenKind::bytes) {
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
    return {spec.kind, std::move(tokens)};
  }
  const bool words = spec.kind == TokenKind::words;
  if (words || spec.padded) tokens.emplace_back();
  if (words) tokens.emplace_back("<unknown>");
  const int64_t most = words ? spec.words_most - std::ssize(tokens) : int64_t{1} << 24;
  Counted counted = most_frequent(world, text, spec, most);
  if (!words) std::sort(counted.begin(), counted.end());
  for (auto& [token, count] : counted) tokens.push_back(std::move(token));
  return {spec.kind, std::move(tokens)};
}

StoredVocabulary stored(const Vocabulary& vocabulary) {
  StoredVocabulary arrays;
  arrays.kind = {static_cast<uint8_t>(vocabulary.kind())};
  arrays.offsets = {0};
  for (int64_t i = 0; i < vocabulary.size(); ++i) {
    const std::string& token = vocabulary.token(i);
    arrays.bytes.insert(arrays.bytes.end(), token.begin(), token.end());
    arrays.offsets.push_back(static_cast<int64_t>(arrays.bytes.size()));
  }
  return arrays;
}

Vocabulary read_vocabulary(const std::string& file) {
  const std::vector<std::byte> bytes = read_all(file, "vocabulary/bytes", 1),
                               kind = read_all(file, "vocabulary/kind", 1),
                               offset_bytes = read_all(file, "vocabulary/offsets", 8);
  std::vector<int64_t> offsets(offset_bytes.size() / 8);
  if (!offsets.empty()) std::memcpy(offsets.data(), offset_bytes.data(), offset_bytes.size());
  const bool whole = kind.size() == 1 && kind[0] <= std::byte{2} && offsets.size() > 1 && offsets[0] == 0 &&
                     std::is_sorted(offsets.begin(), offsets.end()) && offsets.back() == std::ssize(bytes);
  REQUIRE(whole, Exit::data, file + ":vocabulary", "the vocabulary is damaged",
          "Make the file again with lepton prepare.");
  std::vector<std::string> tokens;
  for (size_t i = 0; i + 1 < offsets.size(); ++i)
    tokens.emplace_back(reinterpret_cast<const char*>(bytes.data()) + offsets[i],
                        static_cast<size_t>(offsets[i + 1] - offsets[i]));
  return {static_cast<TokenKind>(kind[0]), std::move(tokens)};
}

}  // namespace lepton::data
