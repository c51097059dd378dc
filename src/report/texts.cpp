// SPDX-License-Identifier: Apache-2.0
// Rounding is done before the choice of the unit, so that "60 s" and "1000k" do not occur.
#include "report/texts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace lepton::report {

namespace {

constexpr size_t rows_max = 64;
constexpr size_t phases = 6;

template <class... Values>
std::string formatted(const char* format, Values... values) {
  char text[160];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::string row(const std::string& name, const RankTimes& times) {
  const std::array<double, phases> parts = {times.data_s,      times.compute_s, times.sum_s,
                                            times.optimizer_s, times.wait_s,    times.checkpoint_s};
  double sum = 0;
  for (const double part : parts) sum += part;
  const double whole = std::max(times.total_s, sum);
  std::string text = formatted("%5s %9lld %12s", name.c_str(), static_cast<long long>(times.units),
                               duration_text(times.total_s).c_str());
  for (const double part : parts) text += formatted("  %7.1f %%", whole > 0 ? 100 * part / whole : 0);
  return text + formatted("  %5.1f %%\n", whole > 0 ? 100 * (whole - sum) / whole : 0);
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
  size_t unit = 0;
  for (; unit + 1 < units.size() && count >= 999.5; ++unit) count /= 1000;
  const int digits = unit == 0 && (count >= 99.95 || count == std::floor(count)) ? 0
                     : count >= 99.95                                            ? 0
                     : count >= 9.995                                            ? 1
                                                                                 : 2;
  return formatted("%.*f%s", digits, count, units[unit]);
}

std::string summary_table(const std::vector<RankTimes>& ranks) {
  std::string text =
      " rank     units         time       data    compute        sum  optimizer       wait checkpoint    "
      "other\n";
  RankTimes mean;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const RankTimes& times = ranks[rank];
    if (rank < rows_max) text += row(std::to_string(rank), times);
    mean.data_s += times.data_s;
    mean.compute_s += times.compute_s;
    mean.sum_s += times.sum_s;
    mean.optimizer_s += times.optimizer_s;
    mean.wait_s += times.wait_s;
    mean.checkpoint_s += times.checkpoint_s;
    mean.total_s += times.total_s;
    mean.units += times.units;
  }
  if (ranks.size() < 2) return text;
  if (ranks.size() > rows_max) text += "  ... " + std::to_string(ranks.size() - rows_max) + " more ranks\n";
  const double n = static_cast<double>(ranks.size());
  for (double RankTimes::*field :
       {&RankTimes::data_s, &RankTimes::compute_s, &RankTimes::sum_s, &RankTimes::optimizer_s,
        &RankTimes::wait_s, &RankTimes::checkpoint_s, &RankTimes::total_s})
    mean.*field /= n;
  mean.units /= static_cast<int64_t>(ranks.size());
  return text + row("mean", mean);
}

}  // namespace lepton::report
