// SPDX-License-Identifier: Apache-2.0
// Sums to figures. See the header.
#include "train/evaluation_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "base/error.h"
#include "train/unit.h"

namespace lepton::train {

double mean_of(const ExactSum& sum, double weight) {
  return sum.value() / (weight > 0 ? weight : 1);
}

/// All but the tally.
static void add_loss_sums(exact::Lanes& lanes, LossLanes from, EvaluationSums& sums) {
  const auto count = [&](Count which) { return lanes.count(from.counts + static_cast<int>(which)); };
  const auto exact = [&](Exact which) { return lanes.exact(from.exact + static_cast<int>(which)); };
  sums.samples += count(Count::samples);
  sums.correct += count(Count::correct);
  sums.counted += count(Count::counted);
  sums.correct_top += count(Count::correct_top);
  sums.weight.merge(exact(Exact::weight));
  sums.loss.merge(exact(Exact::loss));
  sums.absolute_error.merge(exact(Exact::absolute_error));
  sums.squared_error.merge(exact(Exact::squared_error));
  sums.target.merge(exact(Exact::target));
  sums.target_squared.merge(exact(Exact::target_squared));
}

void EvaluationSums::add(exact::Lanes& lanes, size_t part_count) {
  add_loss_sums(lanes, {}, *this);
  parts.resize(part_count);
  for (size_t i = 0; i < part_count; ++i) add_loss_sums(lanes, lanes_of_part(i), parts[i]);
  const std::span<const int64_t> more = lanes.tallies();
  tally.resize(more.size());
  for (size_t i = 0; i < more.size(); ++i) tally[i] += more[i];
}

report::ClassReport class_report(const EvaluationSums& sums, const ops::TallySpec& tally) {
  const auto counts = std::span(sums.tally).first(static_cast<size_t>(tally.of_classes()));
  return tally.confusion ? report::class_report(counts, tally.classes) : report::class_report(counts);
}

/// The two-class figures are those of class 1.
static double class_metric(const report::ClassReport& report, const std::string& name) {
  if (name == "macro_precision") return report.macro_precision;
  if (name == "macro_recall") return report.macro_recall;
  if (name == "macro_f1") return report.macro_f1;
  if (name == "mean_iou") return report.mean_iou;
  const report::ClassReport::Row& row = report.classes.at(1);
  if (name == "precision") return row.precision;
  CHECK(name == "recall" || name == "f1", name);
  return name == "recall" ? row.recall : row.f1;
}

static void add_metrics(const EvaluationSums& sums, const ops::TallySpec& tally,
                        const std::vector<std::string>& names, EvaluationReport& report) {
  report::ClassReport by_class;
  if (tally.classes > 0) by_class = class_report(sums, tally);
  const auto scores = std::span(sums.tally).subspan(static_cast<size_t>(tally.of_classes()));
  for (const std::string& name : names)
    report.metrics.emplace_back(name, name == "auc"
                                          ? report::roc_area(scores.subspan(ops::roc_bins, ops::roc_bins),
                                                             scores.first(ops::roc_bins))
                                          : class_metric(by_class, name));
}

EvaluationReport make_report(const EvaluationSums& sums, exact::RoundKind kind, int64_t step,
                             const ops::Loss& loss, int64_t positions, const ops::TallySpec& tally,
                             const std::vector<std::string>& metrics, std::span<const LossPart> parts) {
  EvaluationReport report;
  report.kind = kind;
  report.step = step;
  report.samples = sums.samples / positions;
  report.classifies = loss.classifies();
  const int64_t counted = std::max<int64_t>(1, sums.counted);
  const auto n = static_cast<double>(counted);
  report.loss = mean_of(sums.loss, sums.weight.value());
  for (size_t i = 0; i < parts.size(); ++i)
    report.parts.emplace_back(parts[i].name,
                              make_report(sums.parts[i], kind, step, parts[i].loss, parts[i].positions));
  if (!parts.empty()) return report;
  if (report.classifies) {
    report.accuracy = static_cast<double>(sums.correct) / n;
    if (ops::takes_classes(loss.spec().kind)) report.top = static_cast<double>(sums.correct_top) / n;
    report.top_classes = loss.spec().top;
    if (positions > 1 && loss.spec().kind == ops::LossKind::softmax_cross_entropy)
      report.perplexity = std::exp(report.loss);
    if (!sums.tally.empty()) add_metrics(sums, tally, metrics, report);
    return report;
  }
  const report::RegressionReport figures =
      report::regression_report(counted * loss.outputs(), sums.absolute_error.value(),
                                sums.squared_error.value(), sums.target.value(), sums.target_squared.value());
  report.mae = figures.mae;
  report.rmse = figures.rmse;
  report.r2 = figures.r2;
  return report;
}

std::vector<std::pair<std::string, double>> EvaluationReport::fields() const {
  if (!parts.empty()) {
    std::vector<std::pair<std::string, double>> fields{{"loss", loss}};
    for (const auto& [part, report] : parts)
      for (const auto& [name, value] : report.fields()) fields.emplace_back(part + "." + name, value);
    return fields;
  }
  if (!classifies) return {{"loss", loss}, {"mae", mae}, {"rmse", rmse}, {"r2", r2}};
  std::vector<std::pair<std::string, double>> fields{{"loss", loss}, {"accuracy", accuracy}};
  if (top) fields.emplace_back("top" + std::to_string(top_classes), *top);
  if (perplexity) fields.emplace_back("perplexity", *perplexity);
  fields.insert(fields.end(), metrics.begin(), metrics.end());
  return fields;
}

void take_part_figures(exact::Lanes& lanes, std::span<const LossPart> parts, Figures& losses,
                       Figures& figures) {
  if (losses.empty()) {
    for (const LossPart& part : parts) losses.emplace_back(part.name, 0);
    std::ranges::sort(losses);
  }
  size_t at = 0;
  const auto put = [&](const LossPart& part, const char* figure, double value) {
    if (at == figures.size()) figures.emplace_back(part.name + figure, 0);
    figures[at++].second = value;
  };
  for (size_t i = 0; i < parts.size(); ++i) {
    const LossPart& part = parts[i];
    EvaluationSums sums;
    add_loss_sums(lanes, lanes_of_part(i), sums);
    const double loss = mean_of(sums.loss, sums.weight.value());
    std::ranges::find(losses, part.name, &Figures::value_type::first)->second = loss;
    put(part, ".loss", loss);
    const double counted = static_cast<double>(std::max<int64_t>(1, sums.counted));
    if (part.loss.classifies()) put(part, ".accuracy", static_cast<double>(sums.correct) / counted);
  }
}

std::string figure_text(double value, const std::string& format) {
  return std::isnan(value) ? "undefined" : fmt::vformat(format, fmt::make_format_args(value));
}

double metric_value(const EvaluationReport& report, const std::string& metric) {
  for (const auto& [name, value] : report.fields())
    if (name == metric) return value;
  return report.loss;
}

bool larger_is_better(const std::string& metric) {
  return metric != "loss" && metric != "mae" && metric != "rmse";
}

}  // namespace lepton::train
