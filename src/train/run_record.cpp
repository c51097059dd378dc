// SPDX-License-Identifier: Apache-2.0
// run.json through nlohmann-json. Called by the command `train`; `status` reads the file itself.
#include "train/run_record.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "storage/file.h"

namespace lepton::train {

namespace {

std::string file_of(const std::string& run_directory) {
  return run_directory + "/run.json";
}

/// A torn or foreign file must not keep a run from starting: history is not state.
nlohmann::json load(const std::string& run_directory) {
  const std::optional<std::string> text = storage::read_file_if_exists(file_of(run_directory));
  nlohmann::json record = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json::object();
  if (!record.is_object()) {
    log_warning(fmt::format("{} is not JSON; the history of this run begins anew.", file_of(run_directory)));
    record = nlohmann::json::object();
  }
  if (!record["starts"].is_array()) record["starts"] = nlohmann::json::array();
  return record;
}

void save(const std::string& run_directory, const nlohmann::json& record) {
  storage::replace_file(file_of(run_directory), record.dump(2) + "\n");
}

std::string present_time() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

void note_changes(const nlohmann::json& before, const std::map<std::string, std::string>& now) {
  for (const auto& [key, value] : now) {
    const std::string old =
        before.contains(key) && before[key].is_string() ? before[key].get<std::string>() : value;
    if (old != value)
      log_info(fmt::format("{} changed from {} to {} since the last start.", key, old, value));
  }
}

}  // namespace

int64_t count_starts(const std::string& run_directory) {
  return static_cast<int64_t>(load(run_directory)["starts"].size());
}

void record_start(const std::string& run_directory, const StartRecord& start) {
  nlohmann::json record = load(run_directory);
  if (!record["starts"].empty() && record["starts"].back().contains("operational"))
    note_changes(record["starts"].back()["operational"], start.operational);
  if (!start.parent.empty()) record["parent"] = start.parent;
  record["starts"].push_back({{"begin", present_time()},
                              {"host", host_name()},
                              {"ranks", start.ranks},
                              {"nodes", start.nodes},
                              {"step", start.step},
                              {"arithmetic_class", start.arithmetic_class},
                              {"operational", start.operational}});
  save(run_directory, record);
}

void record_end(const std::string& run_directory, int64_t step, int exit_code) {
  nlohmann::json record = load(run_directory);
  if (record["starts"].empty()) return;
  nlohmann::json& last = record["starts"].back();
  last["end"] = present_time();
  last["last_step"] = step;
  last["exit"] = exit_code;
  save(run_directory, record);
}

}  // namespace lepton::train
