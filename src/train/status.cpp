// SPDX-License-Identifier: Apache-2.0
// Reading a run's files; see the header.
#include "train/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>

#include "checkpoint/reader.h"
#include "report/texts.h"
#include "storage/directory_lock.h"
#include "storage/file.h"
#include "train/commands.h"
#include "train/inspect.h"

namespace lepton::train {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The last whole line of each kind in metrics.jsonl.
std::map<std::string, Json> last_metrics(const std::string& run_directory) {
  std::map<std::string, Json> last;
  std::istringstream lines(storage::read_file_if_exists(run_directory + "/metrics.jsonl").value_or(""));
  for (std::string text; std::getline(lines, text);) {
    Json line = Json::parse(text, nullptr, false);
    if (line.is_object() && line.contains("kind") && line["kind"].is_string()) {
      const std::string kind = line["kind"];
      line.erase("kind");
      last[kind] = std::move(line);
    }
  }
  return last;
}

/// The last start of run.json, and how many there were.
Json last_start(const std::string& run_directory, size_t& starts) {
  const std::string text = storage::read_file_if_exists(run_directory + "/run.json").value_or("{}");
  const Json record = Json::parse(text, nullptr, false);
  if (!record.is_object() || !record.contains("starts") || !record["starts"].is_array())
    return Json::object();
  starts = record["starts"].size();
  if (starts == 0 || !record["starts"].back().is_object()) return Json::object();
  return record["starts"].back();
}

std::string state_of(bool running, const Json& start) {
  if (running) return "running";
  if (start.empty()) return "new";
  if (!start.contains("exit") || !start["exit"].is_number_integer()) return "interrupted";
  const auto exit = static_cast<Exit>(start["exit"].get<int>());
  return exit == Exit::done ? "finished" : exit == Exit::again ? "stopped" : "failed";
}

std::string value_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

/// "loss 0.1, accuracy 0.98" of a metrics line.
std::string numbers_text(const Json& line) {
  std::string text;
  for (const auto& [name, value] : line.items())
    if (name != "step" && name != "epoch")
      text += (text.empty() ? "" : ", ") + name + " " + value_text(value);
  return text;
}

/// Of a metrics line of kind balance: its step, efficiency, number of nodes, the slowest and the fastest;
/// null where it has no such figures.
Json balance_of(const Json& line) {
  const Json speeds = line.value("speeds", Json()), efficiency = line.value("efficiency", Json());
  const auto is_number = [](const Json& value) { return value.is_number(); };
  if (!speeds.is_array() || speeds.empty() || !std::all_of(speeds.begin(), speeds.end(), is_number))
    return nullptr;
  const auto [slowest, fastest] = std::minmax_element(speeds.begin(), speeds.end());
  Json balance = {{"step", line.value("step", Json())}, {"nodes", speeds.size()}};
  if (efficiency.is_number()) balance["efficiency"] = efficiency;
  balance["slowest"] = {{"node", slowest - speeds.begin()}, {"units_per_second", *slowest}};
  balance["fastest"] = {{"node", fastest - speeds.begin()}, {"units_per_second", *fastest}};
  return balance;
}

/// "balance at step 40: efficiency 93 %, of 3 nodes the slowest is 1 (8.25 units/s), ..."
std::string balance_text(const Json& balance) {
  std::string text = "balance at step " + value_text(balance["step"]) + ": ";
  if (balance.contains("efficiency"))
    text += fmt::format("efficiency {:.0f} %, ", 100 * balance["efficiency"].get<double>());
  const auto speed_text = [&](const char* which) {
    return report::count_text(balance[which]["units_per_second"].get<double>()) + " units/s";
  };
  if (balance["nodes"] == 1) return text + "one node with " + speed_text("fastest") + "\n";
  return text + fmt::format("of {} nodes the slowest is {} ({}), the fastest {} ({})\n",
                            balance["nodes"].get<int64_t>(), balance["slowest"]["node"].get<int64_t>(),
                            speed_text("slowest"), balance["fastest"]["node"].get<int64_t>(),
                            speed_text("fastest"));
}

}  // namespace

Json run_status(const std::string& run_directory) {
  const bool run = fs::exists(run_directory + "/deck.toml") || fs::exists(run_directory + "/ledger.txt") ||
                   fs::exists(run_directory + "/run.json");
  REQUIRE(run, Exit::no_input, run_directory, "there is no run in this directory",
          "A run has deck.toml, ledger.txt and run.json; its directory is the deck's run.dir.");
  const std::optional<std::string> owner = storage::directory_lock_owner(run_directory);
  size_t starts = 0;
  const Json start = last_start(run_directory, starts);
  Json status = {{"run", run_directory}, {"state", state_of(owner.has_value(), start)}};
  if (owner) status["owner"] = *owner;
  if (const Json ledger = inspect_ledger(run_directory); !ledger.is_null() && ledger.contains("step")) {
    status["step"] = ledger["step"];
    status["epoch"] = ledger["epoch"];
    status["loss"] = ledger["loss"];
  }
  std::map<std::string, Json> metrics = last_metrics(run_directory);
  if (metrics.contains("train") && metrics["train"].contains("samples_per_second"))
    status["samples_per_second"] = metrics["train"]["samples_per_second"];
  if (metrics.contains("balance"))
    if (const Json balance = balance_of(metrics["balance"]); !balance.is_null()) status["balance"] = balance;
  for (const char* kind : {"validation", "test"})
    if (metrics.contains(kind)) status[kind] = metrics[kind];
  const std::vector<std::string> checkpoints = checkpoint::list_checkpoints(run_directory + "/checkpoints");
  if (!checkpoints.empty()) status["checkpoint"] = checkpoints.front();
  status["starts"] = starts;
  for (const char* name : {"begin", "end", "exit", "ranks", "nodes", "host"})
    if (start.contains(name)) status[name] = start[name];
  return status;
}

std::string status_text(const Json& status) {
  const auto text_of = [&](const char* name) { return value_text(status[name]); };
  std::string text = text_of("run") + ": " + text_of("state");
  if (status.contains("owner") && !text_of("owner").empty()) text += " (" + text_of("owner") + ")";
  text += "\n";
  if (status.contains("step")) {
    text += "step " + text_of("step") + ", epoch " + text_of("epoch") + ", loss " + text_of("loss");
    if (status.contains("samples_per_second") && status["samples_per_second"].is_number())
      text += ", " + report::count_text(status["samples_per_second"].get<double>()) + " samples/s";
    text += "\n";
  }
  if (status.contains("balance")) text += balance_text(status["balance"]);
  for (const char* kind : {"validation", "test"})
    if (status.contains(kind))
      text += std::string(kind) + " at step " + value_text(status[kind].value("step", Json())) + ": " +
              numbers_text(status[kind]) + "\n";
  if (status.contains("checkpoint")) text += "last checkpoint " + text_of("checkpoint") + "\n";
  if (status.contains("begin")) {
    text += "start " + text_of("starts") + " at " + text_of("begin");
    if (status.contains("ranks")) text += " with " + text_of("ranks") + " ranks";
    if (status.contains("end")) text += ", ended " + text_of("end") + " with exit code " + text_of("exit");
    text += "\n";
  }
  return text;
}

/// The run directory that is meant: itself, or that of a deck.
static std::string run_directory_of(const Options& options) {
  if (fs::is_directory(options.target)) return options.target;
  const std::string text = storage::read_file(options.target);
  return parse_deck(options.target, text, options.overrides).run.directory;
}

Exit status(const Options& options) {
  const std::string directory = run_directory_of(options);
  if (options.where) {
    std::cout << directory << "\n";
    return Exit::done;
  }
  const Json status = run_status(directory);
  std::cout << (options.json ? status.dump(2) + "\n" : status_text(status));
  return Exit::done;
}

}  // namespace lepton::train
