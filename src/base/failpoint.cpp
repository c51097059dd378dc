// SPDX-License-Identifier: Apache-2.0
// Parsing, matching and acting of failpoints. The table of points below is the one place that names them; a
// structure test compares it with the failpoint("...") calls in src/. Armed once at start by train, passed by
// all threads.
#include "base/failpoint.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <deque>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/philox.h"

namespace lepton {

namespace {

const std::vector<std::string> known_points = {"unit",
                                               "forward",
                                               "backward",
                                               "accumulate",
                                               "reduce",
                                               "check",
                                               "optimizer",
                                               "gather",
                                               "snapshot",
                                               "redundancy",
                                               "state.parameters",
                                               "state.moments",
                                               "checkpoint.write",
                                               "checkpoint.sync",
                                               "checkpoint.manifest",
                                               "checkpoint.rename",
                                               "checkpoint.replace",
                                               "checkpoint.prune",
                                               "steal.request",
                                               "steal.grant",
                                               "ledger",
                                               "owner.lock",
                                               "evaluate",
                                               "finalize"};
const std::vector<std::string> known_actions = {"kill", "stop", "segv", "error", "hang", "delay", "flip"};
const std::vector<std::string> known_keys = {"point", "action", "rank", "step", "unit", "restart", "count"};

struct Entry {
  std::string point, action;
  std::optional<int64_t> rank, step, unit, restart;
  int64_t count = 1;
  std::chrono::microseconds delay{0};
  std::atomic<int64_t> passes{0};

  bool matches(std::string_view at, const RunContext& run, bool has_bytes) const {
    return at == point && (has_bytes || action != "flip") && (!rank || *rank == run.rank) &&
           (!step || *step == run.step) && (!unit || *unit == run.unit) &&
           (!restart || *restart == run.restart);
  }
  /// Counts a matching pass and tells whether it is one that acts.
  bool acts() {
    const int64_t pass = passes.fetch_add(1, std::memory_order_relaxed) + 1;
    return action == "delay" ? pass >= count : pass == count;
  }
};

std::deque<Entry> entries;  // the failpoint context that DESIGN section 10 allows to be global

[[noreturn]] void reject(const std::string& entry, const std::string& what, const std::string& hint) {
  fail(Exit::usage, "LEPTON_FAULT, entry '" + entry + "'", what, hint);
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

void require_known(const std::string& entry, const char* kind, const std::string& name,
                   const std::vector<std::string>& names) {
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  const std::string nearest = nearest_name(name, names);
  reject(entry, "unknown " + std::string(kind) + " '" + name + "'",
         (nearest.empty() ? "" : "Did you mean '" + nearest + "'? ") + "There are: " + listed(names) + ".");
}

int64_t number(const std::string& entry, const std::string& key, std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0)
    reject(entry, key + " = '" + std::string(text) + "' is not a number from 0 up", "");
  return value;
}

std::chrono::microseconds duration(const std::string& entry, std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view unit = text.substr(digits);
  const int64_t scale = unit == "us" ? 1 : unit == "ms" ? 1000 : unit == "s" ? 1000000 : 0;
  if (digits == 0 || digits > 9 || scale == 0)
    reject(entry, "'" + std::string(text) + "' is not a duration",
           "Write delay:500us, delay:5ms or delay:2s.");
  return std::chrono::microseconds(number(entry, "delay", text.substr(0, digits)) * scale);
}

void set_action(Entry& entry, const std::string& text, const std::string& value) {
  const size_t colon = value.find(':');
  entry.action = value.substr(0, colon);
  require_known(text, "action", entry.action, known_actions);
  if (entry.action == "delay")
    entry.delay = duration(text, colon == std::string::npos ? "" : std::string_view(value).substr(colon + 1));
  else if (colon != std::string::npos)
    reject(text, "action '" + entry.action + "' takes no ':' value", "Only delay does, e.g. delay:5ms.");
}

void set_pair(Entry& entry, const std::string& text, const std::string& key, const std::string& value) {
  require_known(text, "key", key, known_keys);
  if (key == "point") {
    entry.point = value;
    require_known(text, "point", value, known_points);
  } else if (key == "action") {
    set_action(entry, text, value);
  } else if (key == "count") {
    entry.count = number(text, key, value);
    if (entry.count == 0) reject(text, "count starts at 1, the first matching pass", "");
  } else {
    (key == "rank"   ? entry.rank
     : key == "step" ? entry.step
     : key == "unit" ? entry.unit
                     : entry.restart) = number(text, key, value);
  }
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    std::string part(text.substr(begin, end - begin));
    const size_t first = part.find_first_not_of(" \t\n");
    parts.push_back(
        first == std::string::npos ? "" : part.substr(first, part.find_last_not_of(" \t\n") - first + 1));
    begin = end + 1;
  }
  return parts;
}

void flip_one_bit(std::span<std::byte> bytes) {
  const RunContext& run = run_context();
  const uint64_t random = mix64(mix64(static_cast<uint64_t>(run.step)) ^ static_cast<uint64_t>(run.unit));
  const uint64_t bit = random % (uint64_t{8} * bytes.size());
  bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
}

void act(const Entry& entry, std::span<std::byte> bytes) {
  if (entry.action == "delay") return std::this_thread::sleep_for(entry.delay);
  if (entry.action == "flip") return flip_one_bit(bytes);
  if (entry.action == "error")
    fail(Exit::io, "failpoint " + entry.point, "this failure was asked for", "Unset LEPTON_FAULT.");
  if (entry.action == "kill") std::raise(SIGKILL);
  if (entry.action == "stop") std::raise(SIGSTOP);
  if (entry.action == "segv") {
    std::signal(SIGSEGV, SIG_DFL);  // no library's handler shall turn it into something else
    std::raise(SIGSEGV);
  }
  while (entry.action == "hang") std::this_thread::sleep_for(std::chrono::hours(1));
}

}  // namespace

namespace detail {

bool failpoints_armed = false;

void failpoint_slow(std::string_view point, std::span<std::byte> bytes) {
  const RunContext& run = run_context();
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry)
    if (entry->matches(point, run, !bytes.empty()) && entry->acts()) return act(*entry, bytes);
}

}  // namespace detail

RunContext& run_context() {
  static thread_local RunContext context;
  return context;
}

void arm_failpoints(const std::string& text) {
  entries.clear();
  detail::failpoints_armed = false;
  for (const std::string& entry_text : split(text, ';')) {
    if (entry_text.empty()) continue;
    Entry& entry = entries.emplace_back();
    for (const std::string& pair : split(entry_text, ',')) {
      const size_t equals = pair.find('=');
      if (equals == std::string::npos)
        reject(entry_text, "'" + pair + "' is not key=value",
               "An entry looks like point=unit,action=delay:5ms.");
      set_pair(entry, entry_text, pair.substr(0, equals), pair.substr(equals + 1));
    }
    if (entry.point.empty() || entry.action.empty())
      reject(entry_text, "point and action are needed", "An entry looks like point=unit,action=delay:5ms.");
  }
  detail::failpoints_armed = !entries.empty();
}

}  // namespace lepton
