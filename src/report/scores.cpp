// SPDX-License-Identifier: Apache-2.0
// Quotients of counts, and the table. Definitions as in scikit-learn's classification_report and, over all
// values as one column, r2_score.
#include "report/scores.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/error.h"
#include "base/int128.h"

namespace lepton::report {

namespace {

constexpr int64_t matrix_classes_max = 20;
constexpr double sums_precision = 1e-12;  // of sums that were taken in double over thousands of values

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string right_aligned(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string confusion_matrix(std::span<const int64_t> confusion, size_t classes) {
  const int64_t largest = std::max(*std::max_element(confusion.begin(), confusion.end()), int64_t(classes));
  const size_t width = std::to_string(largest).size() + 1;
  std::string text = "\nconfusion (row: target, column: predicted)\n" + std::string(6, ' ');
  for (size_t c = 0; c < classes; ++c) text += right_aligned(std::to_string(c), width);
  for (size_t target = 0; target < classes; ++target) {
    text += "\n" + right_aligned(std::to_string(target), 6);
    for (size_t c = 0; c < classes; ++c)
      text += right_aligned(std::to_string(confusion[target * classes + c]), width);
  }
  return text + "\n";
}

}  // namespace

ClassReport class_report(std::span<const int64_t> confusion, int64_t classes) {
  CHECK(classes > 0 && static_cast<int64_t>(confusion.size()) == classes * classes, "a square matrix");
  const size_t n = static_cast<size_t>(classes);
  std::vector<int64_t> by_class(3 * n);
  for (size_t target = 0; target < n; ++target)
    for (size_t predicted = 0; predicted < n; ++predicted) {
      const int64_t count = confusion[target * n + predicted];
      by_class[3 * target] += count;
      by_class[3 * predicted + 1] += count;
      if (target == predicted) by_class[3 * target + 2] = count;
    }
  return class_report(by_class);
}

ClassReport class_report(std::span<const int64_t> by_class) {
  CHECK(!by_class.empty() && by_class.size() % 3 == 0, "three counts of each class");
  ClassReport report;
  report.classes.resize(by_class.size() / 3);
  int64_t samples = 0, correct = 0, occurring = 0;
  for (size_t c = 0; c < report.classes.size(); ++c) {
    ClassReport::Row& row = report.classes[c];
    row.support = by_class[3 * c];
    row.predicted = by_class[3 * c + 1];
    row.correct = by_class[3 * c + 2];
    const int64_t either = row.predicted + row.support;
    row.precision = ratio(row.correct, row.predicted);
    row.recall = ratio(row.correct, row.support);
    row.f1 = ratio(2 * row.correct, either);  // = 2 p r / (p + r)
    samples += row.support;
    correct += row.correct;
    if (either > 0) ++occurring;
    report.macro_precision += row.precision;
    report.macro_recall += row.recall;
    report.macro_f1 += row.f1;
    report.mean_iou += ratio(row.correct, either - row.correct);
  }
  report.accuracy = ratio(correct, samples);
  for (double* mean : {&report.macro_precision, &report.macro_recall, &report.macro_f1, &report.mean_iou})
    *mean = occurring == 0 ? 0 : *mean / static_cast<double>(occurring);
  return report;
}

double roc_area(std::span<const int64_t> positives, std::span<const int64_t> negatives) {
  CHECK(positives.size() == negatives.size(), "counts by the same scores");
  uint128 twice = 0;
  int64_t above = 0, below = 0;  // positives so far; negatives so far
  for (size_t i = 0; i < positives.size(); ++i) {
    twice += static_cast<uint128>(positives[i]) * static_cast<uint128>(2 * below + negatives[i]);
    above += positives[i];
    below += negatives[i];
  }
  if (above == 0 || below == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(twice) / (2 * static_cast<double>(above) * static_cast<double>(below));
}

std::string class_table(const ClassReport& report, std::span<const int64_t> confusion) {
  char line[128];
  std::string text = " class    support  precision     recall         F1\n";
  for (size_t c = 0; c < report.classes.size(); ++c) {
    const ClassReport::Row& row = report.classes[c];
    std::snprintf(line, sizeof line, "%6zu %10lld %10.4f %10.4f %10.4f\n", c,
                  static_cast<long long>(row.support), row.precision, row.recall, row.f1);
    text += line;
  }
  std::snprintf(line, sizeof line, "accuracy %.4f, macro F1 %.4f\n", report.accuracy, report.macro_f1);
  text += line;
  if (static_cast<int64_t>(report.classes.size()) <= matrix_classes_max)
    text += confusion_matrix(confusion, report.classes.size());
  return text;
}

RegressionReport regression_report(int64_t count, double absolute_errors, double squared_errors,
                                   double targets, double squared_targets) {
  CHECK(count > 0, "no values");
  const double n = static_cast<double>(count);
  // The variation is a difference of two sums that were rounded: what is left of equal targets is noise.
  const double variation = squared_targets - targets * targets / n;
  const bool varies = variation > sums_precision * squared_targets;
  const double r2 = varies ? 1 - squared_errors / variation : std::numeric_limits<double>::quiet_NaN();
  return {absolute_errors / n, std::sqrt(squared_errors / n), r2};
}

}  // namespace lepton::report
