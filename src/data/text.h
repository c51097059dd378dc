// SPDX-License-Identifier: Apache-2.0
// Text files as lines, shared out over ranks, and lines as tokens: bytes, characters (UTF-8) or words. Who
// has which line follows from where it begins, so all lines are read once, whatever the number of ranks.
// Called by vocabulary and train/prepare.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace lepton::data {

enum class TokenKind : int { bytes = 0, characters = 1, words = 2 };

/// Files one behind the other.
class TextFiles {
 public:
  /// Throws Error(no_input) for a file that cannot be read, Error(data) where all are empty.
  explicit TextFiles(const std::vector<std::string>& paths);

  /// Calls visit(file, line) for the lines, their '\n' included, that begin in part `part` of `parts` of all
  /// bytes, in order. Allocates as much as the longest line. Throws Error(no_input, io).
  using Visit = std::function<void(size_t file, std::string_view line)>;
  void lines(int part, int parts, const Visit& visit) const;
  int64_t bytes() const { return begins_.back(); }
  const std::vector<std::string>& paths() const { return paths_; }

 private:
  std::vector<std::string> paths_;
  std::vector<int64_t> begins_;  // of each file, and the end
};

/// Calls visit(token) for the tokens of a line. Characters: UTF-8 sequences; a byte that belongs to none is a
/// character of its own. Words: runs of letters, digits, apostrophes and bytes beyond ASCII, ASCII capitals
/// made small; every other printing character, and the line's end if `ends`, is a word by itself.
void for_tokens(TokenKind kind, std::string_view line, bool ends,
                const std::function<void(std::string_view)>& visit);

}  // namespace lepton::data
