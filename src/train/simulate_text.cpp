// SPDX-License-Identifier: Apache-2.0
// The report of `simulate` for people: what was assumed, a table of steps and one of runs. Pure, from the
// JSON alone. Called by simulate.cpp.
#include <fmt/format.h>

#include <cmath>

#include "report/texts.h"
#include "train/simulate.h"

namespace lepton::train {

namespace {

using Json = nlohmann::ordered_json;

/// "2.1 us", "412 ms", "3 min 05 s"; a JSON null is an infinite time.
std::string time_text(const Json& value) {
  if (!value.is_number() || !std::isfinite(value.get<double>())) return "never";
  const auto seconds = value.get<double>();
  if (seconds < 1e-3) return fmt::format("{:.3g} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3g} ms", seconds * 1e3);
  return seconds < 10 ? fmt::format("{:.3g} s", seconds) : report::duration_text(seconds);
}

std::string percent_text(const Json& value) {
  if (!value.is_number()) return "100 %";
  const double percent = 100 * value.get<double>();
  return percent < 0.1 && percent > 0 ? fmt::format("{:.2g} %", percent) : fmt::format("{:.1f} %", percent);
}

std::string number_text(const Json& value) {
  return value.is_number() ? report::count_text(value.get<double>()) : "never";
}

std::string counted(int64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string run_text(const Json& report) {
  const Json& run = report["run"];
  return fmt::format("deck        {}: {} of at most {} in a step, {} per epoch, {} in all; {} parameters\n",
                     report["deck"].get<std::string>(), counted(run["units"], "unit"),
                     counted(run["unit_size"], "sample"), counted(run["steps_per_epoch"], "step"),
                     run["steps"].get<int64_t>(), number_text(run["parameters"]));
}

std::string cluster_text(const Json& cluster) {
  std::string text = fmt::format("cluster     {}: {} on {}\n", cluster["file"].get<std::string>(),
                                 counted(cluster["ranks"], "rank"), counted(cluster["machines"], "machine"));
  for (const Json& group : cluster["nodes"])
    text += fmt::format("            {} x {} of {}, {}: {} per unit, noise {}\n",
                        group["count"].get<int64_t>(), counted(group["ranks"], "rank"),
                        counted(group["threads"], "thread"), group["device"].get<std::string>(),
                        time_text(group["unit_ms"].get<double>() * 1e-3), percent_text(group["noise"]));
  const Json &network = cluster["network"], &failures = cluster["failures"];
  text += fmt::format("            {} and {} GB/s between them, {} GB/s to files\n",
                      time_text(network["latency_us"].get<double>() * 1e-6),
                      number_text(network["gigabytes_per_second"]),
                      number_text(cluster["file_system"]["gigabytes_per_second"]));
  text += fmt::format("            one of them fails every {} hours, a restart takes {}\n",
                      number_text(failures["node_mtbf_hours"]), time_text(failures["restart_s"]));
  if (!cluster["assumed"].empty()) {
    text += "            assumed, as the file does not tell:";
    for (const Json& section : cluster["assumed"]) text += " [" + section.get<std::string>() + "]";
    text += "\n";
  }
  return text;
}

std::string calibration_text(const Json& from) {
  const auto ms_text = [&](const char* name) { return time_text(from[name].get<double>() * 1e-3); };
  return fmt::format(
      "from        {}: {} per unit (nodes {} to {}), {} of a step outside its units;\n"
      "            {}, {}, efficiency {}\n",
      from["run"].get<std::string>(), ms_text("unit_ms"), ms_text("fastest_unit_ms"),
      ms_text("slowest_unit_ms"), ms_text("rest_ms"), counted(from["nodes"], "node"),
      counted(from["threads"], "thread"), percent_text(from["efficiency"]));
}

std::string steps_table(const Json& sizes) {
  const char* const row = "{:>7} {:>6} {:>9} {:>10} {:>10} {:>9} {:>8} {:>8} {:>8} {:>8} {:>7}\n";
  std::string text =
      fmt::format("{:>7} {:>6} {:>9} {:>10} {:>10} {:>9} {:^26} {:>8} {:>7}\n", "", "", "units per", "",
                  "its end", "samples", "efficiency of", "messages", "rank 0");
  text += fmt::format(fmt::runtime(row), "ranks", "nodes", "thread", "step", "(model)", "per s", "units",
                      "whole", "step", "rank 0", "busy");
  for (const Json& size : sizes) {
    const Json &step = size["step"], &efficiency = size["efficiency"], &stealing = size["stealing"];
    const double end_s = step["seconds"].get<double>() - step["units_s"].get<double>();
    text += fmt::format(fmt::runtime(row), size["ranks"].get<int64_t>(), size["nodes"].get<int64_t>(),
                        number_text(size["units_per_thread"]), time_text(step["seconds"]), time_text(end_s),
                        number_text(size["samples_per_second"]), percent_text(efficiency["units"]),
                        percent_text(efficiency["whole_units"]), percent_text(efficiency["step"]),
                        number_text(stealing["rank_0_messages"]), percent_text(stealing["rank_0_busy"]));
  }
  return text +
         "efficiency: what the sum of all speeds would take for a step's units, against the time of the\n"
         "units, of the best plan of whole units, and of the whole step. messages: per step, of rank 0.\n";
}

std::string runs_table(const Json& sizes) {
  std::string text = fmt::format("{:>8} {:>13} {:>9} {:>11} {:>13} {:>8} {:>13} {:>9} {:>7}\n", "", "",
                                 "node-", "writing a", "checkpoint", "", "with failures", "node-", "deck's");
  text += fmt::format("{:>8} {:>13} {:>9} {:>11} {:>13} {:>8} {:>13} {:>9} {:>7}\n", "ranks", "time to end",
                      "hours", "checkpoint", "every (best)", "lost", "time to end", "hours", "loss");
  for (const Json& size : sizes) {
    const Json &run = size["run"], &checkpoints = size["checkpoints"], &best = checkpoints["with_best"];
    text += fmt::format(
        "{:>8} {:>13} {:>9} {:>11} {:>13} {:>8} {:>13} {:>9} {:>7}\n", size["ranks"].get<int64_t>(),
        time_text(run["seconds"]), number_text(run["node_hours"]), time_text(checkpoints["write_s"]),
        time_text(checkpoints["best_interval_s"]), percent_text(best["waste"]), time_text(best["seconds"]),
        number_text(best["node_hours"]), percent_text(checkpoints["with_deck"]["waste"]));
  }
  return text +
         "lost: to checkpoints, to work done again and to restarts, with the best interval (Daly 2006); the\n"
         "deck's loss is that with its checkpoint.every. Writing counts as if it stopped the run.\n";
}

}  // namespace

std::string simulate_text(const Json& report) {
  const Json& run = report["run"];
  std::string text = run_text(report) + cluster_text(report["cluster"]);
  if (report.contains("calibration")) text += calibration_text(report["calibration"]);
  text += fmt::format("simulated   {}, policy {}, seed {}\n\n", counted(run["simulated_steps"], "step"),
                      run["policy"].get<std::string>(), run["seed"].get<uint64_t>());
  text += steps_table(report["sizes"]) + "\n" + runs_table(report["sizes"]);
  for (const Json& warning : report["warnings"]) text += "warning: " + warning.get<std::string>() + "\n";
  return text;
}

}  // namespace lepton::train
