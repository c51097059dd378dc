// SPDX-License-Identifier: Apache-2.0
// Lines by nlohmann-json, fields in the order given. Not synced: metrics may lose their last lines with the
// machine.
#include "report/metrics.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "report/text_lines.h"

namespace lepton::report {

namespace {

constexpr char metrics_name[] = "/metrics.jsonl";

/// Drops what a run whose state is after `last_step` will write again, and what is no metrics line.
void drop_lines_behind(const std::string& path, int64_t last_step) {
  bool torn = false;
  const std::vector<std::string> lines = read_whole_lines(path, torn);
  std::vector<std::string> kept;
  int64_t damaged = 0;
  for (const std::string& line : lines) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    const bool intact = json.is_object() && json.contains("step") && json["step"].is_number_integer();
    if (!intact) ++damaged;
    if (intact && json["step"].get<int64_t>() <= last_step) kept.push_back(line);
  }
  if (damaged > 0) log_warning(path + ": " + std::to_string(damaged) + " damaged lines are dropped.");
  if (torn || kept.size() < lines.size()) storage::replace_file(path, joined_lines(kept));
}

std::string prepared(const std::string& directory, int64_t last_step) {
  drop_lines_behind(directory + metrics_name, last_step);
  return directory + metrics_name;
}

}  // namespace

double BalanceFigures::efficiency() const {
  double speed = 0;
  for (const NodeWork& node : nodes) speed += node.units_per_s;
  return units_per_step / speed / units_s;
}

MetricsFile::MetricsFile(const std::string& directory, int64_t last_step)
    : file_(prepared(directory, last_step)) {}

void MetricsFile::write(const std::string& kind, int64_t step, double epoch,
                        const std::vector<std::pair<std::string, double>>& fields) {
  nlohmann::ordered_json json = {{"kind", kind}, {"step", step}, {"epoch", epoch}};
  for (const auto& [name, value] : fields) json[name] = value;
  file_.append(json.dump());
}

void MetricsFile::balance(int64_t step, double epoch, const BalanceFigures& figures) {
  nlohmann::ordered_json json = {{"kind", "balance"},
                                 {"step", step},
                                 {"epoch", epoch},
                                 {"step_s", figures.step_s},
                                 {"units_s", figures.units_s},
                                 {"efficiency", figures.efficiency()}};
  const auto add_array = [&](const char* name, auto NodeWork::*field) {
    nlohmann::ordered_json& array = json[name] = nlohmann::ordered_json::array();
    for (const NodeWork& node : figures.nodes) array.push_back(node.*field);
  };
  add_array("speeds", &NodeWork::units_per_s);
  add_array("threads", &NodeWork::threads);
  add_array("planned", &NodeWork::planned);
  add_array("done", &NodeWork::done);
  add_array("given", &NodeWork::given);
  add_array("taken", &NodeWork::taken);
  file_.append(json.dump());
}

}  // namespace lepton::report
