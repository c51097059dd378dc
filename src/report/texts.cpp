// SPDX-License-Identifier: Apache-2.0
// Rounding is done before the choice of the unit, so that "60 s" and "1000k" do not occur. The columns of the
// table by rank, its bars and its legend come from one list of phases.
#include "report/texts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <span>
#include <utility>

namespace lepton::report {

namespace {

constexpr size_t rank_rows_max = 64, node_rows_max = 32, group_rows = 8;
constexpr int bar_width = 20;

struct Phase {
  double RankTimes::*seconds;
  const char* name;
  char letter;
};
/// In the order of the columns and of the bars: work on the left, waiting on the right.
constexpr std::array<Phase, 6> phases = {{{&RankTimes::compute_s, "compute", '#'},
                                          {&RankTimes::sum_s, "sum", '+'},
                                          {&RankTimes::optimizer_s, "update", 'u'},
                                          {&RankTimes::data_s, "data", 'd'},
                                          {&RankTimes::checkpoint_s, "saving", 's'},
                                          {&RankTimes::wait_s, "wait", '.'}}};

template <class... Values>
std::string formatted(const char* format, Values... values) {
  char text[160];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

int column_width(const char* name) {
  return std::max(6, static_cast<int>(std::strlen(name)) + 1);  // at least " 100.0"
}

/// Borders are rounded, not lengths: the parts of a whole fill the bar, what is missing from it stays blank.
std::string bar(std::span<const std::pair<char, double>> parts, double whole) {
  std::string text;
  double sum = 0;
  for (const auto& [letter, part] : parts) {
    sum += part;
    if (whole > 0) text.resize(std::llround(bar_width * std::min(1.0, sum / whole)), letter);
  }
  text.resize(bar_width, ' ');
  return " |" + text + "|\n";
}

std::string rank_row(const std::string& name, const std::string& node, const RankTimes& times) {
  double sum = 0;
  std::array<std::pair<char, double>, phases.size()> parts;
  for (size_t i = 0; i < phases.size(); ++i) {
    parts[i] = {phases[i].letter, times.*phases[i].seconds};
    sum += parts[i].second;
  }
  const double whole = std::max(times.total_s, sum);
  const auto percent = [&](double part) { return whole > 0 ? 100 * part / whole : 0; };
  std::string text = formatted("%5s %4s %8lld %11s", name.c_str(), node.c_str(),
                               static_cast<long long>(times.units), duration_text(times.total_s).c_str());
  for (size_t i = 0; i < phases.size(); ++i)
    text += formatted("%*.1f", column_width(phases[i].name), percent(parts[i].second));
  return text + formatted("%*.1f", column_width("other"), percent(whole - sum)) + bar(parts, whole);
}

std::string node_row(const std::string& name, const NodeWork& node) {
  const std::array<std::pair<char, double>, 2> parts = {{{'#', node.busy_s}, {'.', node.wait_s}}};
  const double whole = node.busy_s + node.wait_s;
  std::string text = formatted("%5s %5d %7d %9s", name.c_str(), node.ranks, node.threads,
                               count_text(node.units_per_s).c_str());
  for (const int64_t units : {node.planned, node.done, node.given, node.taken})
    text += formatted(" %9lld", static_cast<long long>(units));
  text += whole > 0 ? formatted(" %5.1f", 100 * node.busy_s / whole) : "     -";
  return text + bar(parts, whole);
}

/// The rows of many nodes, by speed: 8 slowest, 8 in the middle, 8 fastest.
std::string chosen_node_rows(const std::vector<NodeWork>& nodes) {
  std::vector<size_t> order(nodes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return nodes[a].units_per_s < nodes[b].units_per_s; });
  const auto rows = [&](size_t first) {
    std::string text;
    for (size_t i = first; i < first + group_rows; ++i)
      text += node_row(std::to_string(order[i]), nodes[order[i]]);
    return text;
  };
  return formatted("  ... the %zu slowest of %zu nodes:\n", group_rows, nodes.size()) + rows(0) +
         formatted("  ... %zu in the middle by speed:\n", group_rows) +
         rows(nodes.size() / 2 - group_rows / 2) + formatted("  ... the %zu fastest:\n", group_rows) +
         rows(nodes.size() - group_rows);
}

/// A share of time in a sentence.
std::string share_text(double share) {
  if (!(share > 0)) return "none";
  return share < 0.005 ? "less than 1 %" : formatted("%.0f %%", 100 * share);
}

std::string counted(int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

}  // namespace

std::string duration_text(double seconds) {
  if (!(seconds >= 0) || std::isinf(seconds)) return "?";
  if (seconds < 9.95) return formatted("%.1f s", seconds);
  const long long whole = std::llround(seconds);
  if (whole < 60) return formatted("%lld s", whole);
  if (whole < 3600) return formatted("%lld min %02lld s", whole / 60, whole % 60);
  const long long minutes = std::llround(seconds / 60);
  if (minutes < 24 * 60) return formatted("%lld h %02lld min", minutes / 60, minutes % 60);
  const long long hours = std::llround(seconds / 3600);
  return formatted("%lld d %02lld h", hours / 24, hours % 24);
}

std::string bytes_text(double bytes) {
  static constexpr std::array<const char*, 6> units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  for (; unit + 1 < units.size() && bytes >= (unit == 0 ? 1023.5 : 1023.95); ++unit) bytes /= 1024;
  return formatted(unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

std::string count_text(double count) {
  static constexpr std::array<const char*, 5> units = {"", "k", "M", "G", "T"};
  if (count > 0 && count < 0.0995) return formatted("%.3g", count);
  size_t unit = 0;
  for (; unit + 1 < units.size() && count >= 999.5; ++unit) count /= 1000;
  const int digits = unit == 0 && (count >= 99.95 || count == std::floor(count)) ? 0
                     : count >= 99.95                                            ? 0
                     : count >= 9.995                                            ? 1
                                                                                 : 2;
  return formatted("%.*f%s", digits, count, units[unit]);
}

std::string summary_table(const std::vector<RankTimes>& ranks) {
  std::string text = formatted("%5s %4s %8s %11s", "rank", "node", "units", "time");
  std::string legend = " in percent:";
  for (const Phase& phase : phases) {
    text += formatted("%*s", column_width(phase.name), phase.name);
    legend += formatted(" %c %s,", phase.letter, phase.name);
  }
  text += formatted("%*s\n", column_width("other"), "other");
  RankTimes mean;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const RankTimes& times = ranks[rank];
    if (rank < rank_rows_max) text += rank_row(std::to_string(rank), std::to_string(times.node), times);
    for (const Phase& phase : phases) mean.*phase.seconds += times.*phase.seconds;
    mean.total_s += times.total_s;
    mean.units += times.units;
  }
  if (ranks.size() > rank_rows_max)
    text += "  ... " + std::to_string(ranks.size() - rank_rows_max) + " more ranks\n";
  if (ranks.size() > 1) {
    const double n = static_cast<double>(ranks.size());
    for (const Phase& phase : phases) mean.*phase.seconds /= n;
    mean.total_s /= n;
    mean.units /= static_cast<int64_t>(ranks.size());
    text += rank_row("mean", "", mean);
  }
  return text + legend + " blank other\n";
}

std::string balance_table(const std::vector<NodeWork>& nodes) {
  std::string text =
      " node ranks threads   units/s   planned      done     given     taken  busy  # busy . waiting\n";
  NodeWork total{0, 0};
  for (size_t i = 0; i < nodes.size(); ++i) {
    const NodeWork& node = nodes[i];
    if (nodes.size() <= node_rows_max) text += node_row(std::to_string(i), node);
    total.ranks += node.ranks;
    total.threads += node.threads;
    total.planned += node.planned;
    total.done += node.done;
    total.given += node.given;
    total.taken += node.taken;
    total.units_per_s += node.units_per_s;
    total.busy_s += node.busy_s;
    total.wait_s += node.wait_s;
  }
  if (nodes.size() > node_rows_max) text += chosen_node_rows(nodes);
  return text + node_row("total", total);
}

std::string coarse_units_text(int64_t units, int threads, double loss, int64_t better_unit_size,
                              double better_loss) {
  const std::string fact = "a step has " + counted(units, "unit") + " for " +
                           counted(threads, "compute thread") +
                           ": even a perfect plan of whole units leaves " + share_text(loss) +
                           " of their time idle, which stealing cannot cure; ";
  if (better_unit_size >= 1 && better_loss < loss)
    return fact + "a unit_size of " + std::to_string(better_unit_size) + " would leave " +
           share_text(better_loss) + " (it is a mathematical key).";
  return fact +
         "no smaller unit_size would do better: use fewer threads or a larger batch_size (a mathematical "
         "key).";
}

}  // namespace lepton::report
