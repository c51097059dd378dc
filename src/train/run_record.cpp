// SPDX-License-Identifier: Apache-2.0
// Both files through nlohmann-json. Called by the command `train`; `status` reads run.json itself.
#include "train/run_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "storage/file.h"

namespace lepton::train {

namespace {

std::string file_of(const std::string& run_directory) {
  return run_directory + "/run.json";
}

std::string identity_file_of(const std::string& run_directory) {
  return run_directory + "/identity.json";
}

/// A path need not be UTF-8; that must not keep a run from starting.
std::string dump(const nlohmann::json& json, int indent = -1) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

nlohmann::json parse_identity(const std::string& text, const std::string& path) {
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  std::string checksum;
  if (json.is_object() && json.contains("checksum") && json["checksum"].is_string()) {
    checksum = json["checksum"];
    json.erase("checksum");
  }
  REQUIRE(
      checksum == hex64(hash64(dump(json))), Exit::data, path,
      "what this run is can no longer be read: the file is damaged",
      "Start over with --fresh, which moves the old run aside. Or remove this file if deck, data and --from "
      "are surely as they were.");
  return json;
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
  storage::replace_file(file_of(run_directory), dump(record, 2) + "\n");
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

std::string RunIdentity::encode() const {
  nlohmann::json json = {
      {"arithmetic_class", identity.arithmetic_class},
      {"data_fingerprint", identity.data_fingerprint},
      {"mathematical", identity.mathematical},
      {"schedule_steps", schedule_steps},
      {"parent",
       {{"path", parent.path}, {"checkpoint", parent.checkpoint}, {"manifest_hash", parent.manifest_hash}}},
      {"weights", {{"path", weights.path}, {"parameters_hash", weights.parameters_hash}}}};
  json = nlohmann::json::parse(dump(json));  // so that the checksum is of what a reader sees
  json["checksum"] = hex64(hash64(dump(json)));
  return dump(json, 2) + "\n";
}

RunIdentity RunIdentity::decode(const std::string& text, const std::string& path) {
  const nlohmann::json json = parse_identity(text, path);
  RunIdentity run;
  try {
    run.identity.arithmetic_class = json.at("arithmetic_class").get<std::string>();
    run.identity.data_fingerprint = json.at("data_fingerprint").get<std::string>();
    run.identity.mathematical = json.at("mathematical").get<std::map<std::string, std::string>>();
    run.schedule_steps = json.at("schedule_steps").get<int64_t>();
    const nlohmann::json& parent = json.at("parent");
    run.parent = {parent.at("path").get<std::string>(), parent.at("checkpoint").get<std::string>(),
                  parent.at("manifest_hash").get<std::string>()};
    if (json.contains("weights"))  // the first files had none
      run.weights = {json["weights"].at("path").get<std::string>(),
                     json["weights"].at("parameters_hash").get<std::string>()};
  } catch (const nlohmann::json::exception& error) {
    fail(Exit::data, path, error.what(), "It was written by another version of Lepton: use that one.");
  }
  return run;
}

std::optional<RunIdentity> read_identity(const std::string& run_directory) {
  const std::string path = identity_file_of(run_directory);
  const std::optional<std::string> text = storage::read_file_if_exists(path);
  if (!text) return std::nullopt;
  return RunIdentity::decode(*text, path);
}

void write_identity(const std::string& run_directory, const RunIdentity& identity) {
  storage::replace_file(identity_file_of(run_directory), identity.encode());
}

int64_t count_starts(const std::string& run_directory) {
  return static_cast<int64_t>(load(run_directory)["starts"].size());
}

FailureHistory failure_history(const std::string& run_directory) {
  FailureHistory history;
  const nlohmann::json record = load(run_directory);
  double first_s = 0;
  for (const nlohmann::json& start : record["starts"]) {
    if (!start.is_object()) continue;
    const int exit =
        start.contains("exit") && start["exit"].is_number_integer() ? start["exit"].get<int>() : -1;
    history.failures += exit == -1 || exit == static_cast<int>(Exit::io);
    struct tm time {};
    if (first_s == 0 && start.contains("begin") && start["begin"].is_string() &&
        strptime(start["begin"].get<std::string>().c_str(), "%Y-%m-%dT%H:%M:%SZ", &time))
      first_s = static_cast<double>(timegm(&time));
  }
  if (first_s > 0) history.observed_s = std::max(0.0, static_cast<double>(std::time(nullptr)) - first_s);
  return history;
}

std::vector<std::string> healing_history(const std::string& run_directory) {
  std::vector<std::string> history;
  const nlohmann::json record = load(run_directory);
  for (const nlohmann::json& start : record["starts"]) {
    if (!start.is_object() || !start.contains("healed") || !start["healed"].is_array()) continue;
    const nlohmann::json& begin = start.value("begin", nlohmann::json());
    for (const nlohmann::json& what : start["healed"])
      if (what.is_string())
        history.push_back((begin.is_string() ? begin.get<std::string>() : "?") + " " +
                          what.get<std::string>());
  }
  return history;
}

void record_start(const std::string& run_directory, const StartRecord& start) {
  nlohmann::json record = load(run_directory);
  if (!record["starts"].empty() && record["starts"].back().contains("operational"))
    note_changes(record["starts"].back()["operational"], start.operational);
  if (!start.parent.empty() && !record.contains("parent")) record["parent"] = start.parent;
  record["starts"].push_back({{"begin", storage::utc_time()},
                              {"host", storage::host_name()},
                              {"ranks", start.ranks},
                              {"nodes", start.nodes},
                              {"step", start.step},
                              {"arithmetic_class", start.arithmetic_class},
                              {"classes", start.classes},
                              {"operational", start.operational}});
  if (!start.healed.empty()) record["starts"].back()["healed"] = start.healed;
  save(run_directory, record);
}

void record_end(const std::string& run_directory, int64_t step, int exit_code) {
  nlohmann::json record = load(run_directory);
  if (record["starts"].empty()) return;
  nlohmann::json& last = record["starts"].back();
  last["end"] = storage::utc_time();
  last["last_step"] = step;
  last["exit"] = exit_code;
  save(run_directory, record);
}

}  // namespace lepton::train
