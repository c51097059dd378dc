// SPDX-License-Identifier: Apache-2.0
// Texts of errors, and the nearest valid name for a mistyped one (Levenshtein distance). Called by every
// module; the run context that CHECK prints comes from base/failpoint.
#include "base/error.h"

#include <algorithm>

#include "base/failpoint.h"

namespace lepton {

std::string SourcePosition::text() const {
  return line > 0 ? file + ":" + std::to_string(line) + ":" + std::to_string(column) : file;
}

static std::string joined(const std::string& where, const std::string& what, const std::string& hint) {
  std::string text = where.empty() ? what : where + ": " + what;
  return hint.empty() ? text : text + "\n  " + hint;
}

Error::Error(Exit code, std::string where, std::string what, std::string hint)
    : std::runtime_error(joined(where, what, hint)),
      code_(code),
      where_(std::move(where)),
      what_(std::move(what)),
      hint_(std::move(hint)) {}

Error Error::as_agreed() const {
  Error copy = *this;
  copy.agreed_ = true;
  return copy;
}

void fail(Exit code, std::string where, std::string what, std::string hint) {
  throw Error(code, std::move(where), std::move(what), std::move(hint));
}

void check_failed(const char* condition, const char* file, int line, const std::string& detail) {
  const RunContext& run = run_context();
  throw Error(Exit::software, std::string(file) + ":" + std::to_string(line),
              std::string("invariant broken: ") + condition + (detail.empty() ? "" : " (" + detail + ")"),
              "rank " + std::to_string(run.rank) + ", step " + std::to_string(run.step) + ", unit " +
                  std::to_string(run.unit) + ". This is a bug in Lepton; the last checkpoint stands.");
}

static size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace lepton
