// SPDX-License-Identifier: Apache-2.0
// How Lepton fails. Bad input or environment: REQUIRE throws Error with what is wrong, where, and what to
// do; main.cpp catches it once and exits with its code. A bug of ours: CHECK, always on, throws Error with
// Exit::software and the place in the run (rank, step, unit). Legitimate absence is std::optional.
// An Error is `agreed` when every rank throws the same one: then rank 0 alone prints it and nobody aborts.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace lepton {

/// Exit codes, after sysexits.h (DESIGN section 7).
enum class Exit : int {
  done = 0,
  different = 1,       ///< compare: the runs differ (as of diff and cmp)
  usage = 64,          ///< command line
  data = 65,           ///< dataset content; also: all checkpoints bad
  no_input = 66,       ///< missing or unreadable input file
  no_device = 69,      ///< requested device absent
  software = 70,       ///< our bug
  memory = 71,         ///< more memory needed than there is
  run_directory = 73,  ///< in use by another job, or not writable
  io = 74,             ///< I/O failed, or data changed under us
  again = 75,          ///< run me again, the state on disk is valid
  diverged = 76,       ///< a non-finite loss or gradient
  deck = 78,           ///< deck; also: changed mathematical key or arithmetic class
};

/// A place in a text file that a user wrote; line 0 means "not from a file" (say, --set).
struct SourcePosition {
  std::string file;
  int line = 0;
  int column = 0;
  std::string text() const;  ///< "file:line:column", or just the file
};

class Error : public std::runtime_error {
 public:
  Error(Exit code, std::string where, std::string what, std::string hint);
  Exit code() const { return code_; }
  const std::string& where() const { return where_; }
  const std::string& problem() const { return what_; }
  const std::string& hint() const { return hint_; }
  bool agreed() const { return agreed_; }
  Error as_agreed() const;

 private:
  Exit code_;
  std::string where_, what_, hint_;
  bool agreed_ = false;
};

[[noreturn]] void fail(Exit code, std::string where, std::string what, std::string hint);
[[noreturn]] void check_failed(const char* condition, const char* file, int line, const std::string& detail);

/// The candidate nearest to `name` by edit distance, or "" when none is near enough to be meant.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace lepton

/// Bad input or environment. `where` (file, key, dataset), `what` and `hint` are evaluated on failure only.
#define REQUIRE(condition, code, where, what, hint)    \
  do {                                                 \
    if (!(condition)) [[unlikely]]                     \
      ::lepton::fail((code), (where), (what), (hint)); \
  } while (false)

/// An invariant of ours. The detail is a std::string expression, evaluated on failure only.
#define CHECK(condition, detail)                                        \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::lepton::check_failed(#condition, __FILE__, __LINE__, (detail)); \
  } while (false)
