// SPDX-License-Identifier: Apache-2.0
// Metrics lines to medians; what is not as Lepton writes it is passed over. See the header.
#include "train/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <sstream>

#include "storage/file.h"

namespace lepton::train {

namespace {

using Json = nlohmann::ordered_json;

/// A line of kind balance.
struct Measured {
  std::vector<double> speeds, threads;
  double step_s = 0, units_s = 0, efficiency = 0;
};

std::optional<double> number_of(const Json& line, const char* name) {
  const auto found = line.find(name);
  if (found == line.end() || !found->is_number() || !std::isfinite(found->get<double>())) return std::nullopt;
  return found->get<double>();
}

/// All above 0; empty where they are not.
std::vector<double> numbers_of(const Json& line, const char* name) {
  std::vector<double> numbers;
  const auto found = line.find(name);
  if (found == line.end() || !found->is_array()) return {};
  for (const Json& item : *found) {
    if (!item.is_number() || !(item.get<double>() > 0)) return {};
    numbers.push_back(item.get<double>());
  }
  return numbers;
}

std::optional<Measured> measured_of(const Json& line) {
  if (!line.is_object() || line.value("kind", Json()) != "balance") return std::nullopt;
  const std::optional<double> step_s = number_of(line, "step_s"), units_s = number_of(line, "units_s"),
                              efficiency = number_of(line, "efficiency");
  Measured measured{numbers_of(line, "speeds"), numbers_of(line, "threads"), step_s.value_or(0),
                    units_s.value_or(0), efficiency.value_or(0)};
  const bool whole = !measured.speeds.empty() && measured.speeds.size() == measured.threads.size() &&
                     measured.units_s > 0 && measured.step_s >= measured.units_s && efficiency;
  if (!whole) return std::nullopt;
  return measured;
}

/// Lines of the nodes that the last one has: a start with others measured something else.
std::vector<Measured> measured_lines(const std::string& run_directory) {
  std::vector<Measured> lines;
  std::istringstream text(storage::read_file_if_exists(run_directory + "/metrics.jsonl").value_or(""));
  for (std::string line; std::getline(text, line);)
    if (const auto measured = measured_of(Json::parse(line, nullptr, false))) lines.push_back(*measured);
  if (lines.empty()) return lines;
  const std::vector<double> threads = lines.back().threads;
  auto first = lines.end();
  while (first != lines.begin() && std::prev(first)->threads == threads) --first;
  lines.erase(lines.begin(), first);
  lines.erase(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(lines.size() / 2));
  return lines;
}

template <class Figure>
double median(const std::vector<Measured>& lines, Figure&& figure) {
  std::vector<double> values;
  for (const Measured& line : lines) values.push_back(figure(line));
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

/// Thread time of a unit on node `n` of a line.
double unit_s_of(const Measured& line, size_t n) {
  return line.threads[n] / line.speeds[n];
}

int ranks_of(const std::string& run_directory) {
  const Json record =
      Json::parse(storage::read_file_if_exists(run_directory + "/run.json").value_or(""), nullptr, false);
  if (!record.is_object() || !record.contains("starts") || !record["starts"].is_array()) return 0;
  if (record["starts"].empty() || !record["starts"].back().is_object()) return 0;
  const Json ranks = record["starts"].back().value("ranks", Json());
  return ranks.is_number_integer() ? ranks.get<int>() : 0;
}

/// What a unit's time depends on beside its size.
std::map<std::string, std::string> network_keys(const Deck& deck) {
  std::map<std::string, std::string> keys;
  for (const auto& [key, value] : deck.mathematical)
    if (key.starts_with("model.layers") || key == "model.precision") keys[key] = value;
  if (!deck.network.path.empty()) keys["model.onnx"] = deck.operational.at("model.onnx");
  return keys;
}

/// Scales the times to the deck's units.
void compare(const Deck& deck, const std::string& run_directory, Calibration& calibration) {
  const std::string path = run_directory + "/deck.toml";
  const std::optional<std::string> text = storage::read_file_if_exists(path);
  REQUIRE(text, Exit::no_input, path, "the run's deck is missing",
          "--from is a run directory, as run.dir is.");
  const Deck theirs = parse_deck(path, *text, {});
  const auto mine = network_keys(deck), other = network_keys(theirs);
  const auto difference = [&]() -> std::string {
    for (const auto& [key, value] : mine)
      if (!other.contains(key) || other.at(key) != value) return key;
    return mine.size() < other.size() ? "model.layers" : "";
  }();
  REQUIRE(difference.empty(), Exit::usage, run_directory,
          "the run of --from has another " + difference + ", so its units say nothing of this deck's",
          "Measure this deck: some hundred steps on one node are enough.");
  const int64_t unit = std::min(deck.train.unit_size, deck.train.batch_size),
                their_unit = std::min(theirs.train.unit_size, theirs.train.batch_size);
  if (unit == their_unit) return;
  const double ratio = static_cast<double>(unit) / static_cast<double>(their_unit);
  for (double* time : {&calibration.unit_s, &calibration.slowest_s, &calibration.fastest_s}) *time *= ratio;
  calibration.warnings.push_back(fmt::format(
      "the run of --from measured units of {} samples, the deck has {}: their time is taken to be "
      "in proportion.",
      their_unit, unit));
}

}  // namespace

Calibration read_calibration(const std::string& run_directory, const Deck& deck) {
  REQUIRE(std::filesystem::is_directory(run_directory), Exit::no_input, run_directory,
          "there is no run in this directory", "--from is a run directory, as run.dir is.");
  const std::vector<Measured> lines = measured_lines(run_directory);
  REQUIRE(!lines.empty(), Exit::data, run_directory + "/metrics.jsonl",
          "no line of kind balance tells how long units took",
          "A run writes them every balance.record_every and at its end: let it run for some hundred steps.");
  const Measured& last = lines.back();
  Calibration calibration;
  calibration.run = run_directory;
  calibration.lines = std::ssize(lines);
  calibration.ranks = ranks_of(run_directory);
  calibration.nodes = static_cast<int>(last.speeds.size());
  calibration.threads = static_cast<int64_t>(sum(last.threads));
  calibration.unit_s =
      median(lines, [](const Measured& line) { return sum(line.threads) / sum(line.speeds); });
  calibration.rest_s = median(lines, [](const Measured& line) { return line.step_s - line.units_s; });
  calibration.efficiency = median(lines, [](const Measured& line) { return line.efficiency; });
  calibration.slowest_s = 0;
  calibration.fastest_s = calibration.unit_s;
  for (size_t n = 0; n < last.speeds.size(); ++n) {
    const double unit_s = median(lines, [n](const Measured& line) { return unit_s_of(line, n); });
    calibration.slowest_s = std::max(calibration.slowest_s, unit_s);
    calibration.fastest_s = n == 0 ? unit_s : std::min(calibration.fastest_s, unit_s);
  }
  compare(deck, run_directory, calibration);
  return calibration;
}

}  // namespace lepton::train
