// SPDX-License-Identifier: Apache-2.0
// See the header. Files are read in pieces; a line that begins in a part is read to its end, wherever that
// is.
#include "data/text.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/watchdog.h"

namespace lepton::data {

namespace {

constexpr size_t piece_bytes = 1 << 20;

/// Calls visit(line) for the lines of a file that begin in [begin, end).
void lines_of_file(const std::string& path, int64_t begin, int64_t end,
                   const std::function<void(std::string_view)>& visit) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file, Exit::no_input, path, "the file cannot be read", "");
  std::string line, piece(piece_bytes, '\0');
  // One byte before, to see whether a line begins at `begin`.
  int64_t at = std::max<int64_t>(0, begin - 1);
  file.seekg(at);
  bool inside = begin == 0;  // of a line that is ours
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())), file.gcount() > 0) {
    std::string_view rest(piece.data(), static_cast<size_t>(file.gcount()));
    while (!rest.empty()) {
      const size_t newline = rest.find('\n');
      const size_t count = newline == std::string_view::npos ? rest.size() : newline + 1;
      if (inside) line.append(rest.substr(0, count));
      rest.remove_prefix(count);
      at += static_cast<int64_t>(count);
      if (newline == std::string_view::npos) continue;
      if (inside) visit(line);
      line.clear();
      inside = true;
      if (at >= end) return;  // the next line is not ours
    }
    beat();
  }
  REQUIRE(file.eof(), Exit::io, path, "reading failed", "");
  if (inside && !line.empty()) visit(line);
}

/// A character's length by its first byte, as far as the bytes behind are its own.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t length = byte(0) < 0xC0 ? 1 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : 4;
  if (length > text.size()) return 1;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 1;
  return length;
}

bool in_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '\'' ||
         byte >= 0x80;
}

void for_words(std::string_view line, bool ends, const std::function<void(std::string_view)>& visit) {
  std::string word;
  const auto flush = [&] {
    if (!word.empty()) visit(word);
    word.clear();
  };
  for (const char c : line) {
    if (in_word(c)) {
      word += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      continue;
    }
    flush();
    const bool prints = c > ' ' && c < 0x7F;
    if (prints || (c == '\n' && ends)) visit(std::string_view(&c, 1));
  }
  flush();
}

}  // namespace

TextFiles::TextFiles(const std::vector<std::string>& paths) : paths_(paths), begins_{0} {
  CHECK(!paths.empty(), "text of no file");
  for (const std::string& path : paths) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path, error);
    REQUIRE(!error, Exit::no_input, path, "the text cannot be read: " + error.message(), "");
    begins_.push_back(begins_.back() + static_cast<int64_t>(bytes));
  }
  REQUIRE(bytes() > 0, Exit::data, paths.front(), "there is no text", "");
}

void TextFiles::lines(int part, int parts, const Visit& visit) const {
  // bytes * part / parts without overflow
  const auto cut = [&](int p) { return bytes() / parts * p + bytes() % parts * p / parts; };
  const int64_t begin = cut(part), end = cut(part + 1);
  for (size_t file = 0; file < paths_.size(); ++file) {
    const int64_t from = std::max(begin, begins_[file]), to = std::min(end, begins_[file + 1]);
    if (from < to)
      lines_of_file(paths_[file], from - begins_[file], to - begins_[file],
                    [&](std::string_view line) { visit(file, line); });
  }
}

void for_tokens(TokenKind kind, std::string_view line, bool ends,
                const std::function<void(std::string_view)>& visit) {
  if (kind == TokenKind::words) return for_words(line, ends, visit);
  if (!ends && line.ends_with('\n')) line.remove_suffix(1);
  while (!line.empty()) {
    const size_t length = kind == TokenKind::bytes ? 1 : character_length(line);
    visit(line.substr(0, length));
    line.remove_prefix(length);
  }
}

}  // namespace lepton::data
