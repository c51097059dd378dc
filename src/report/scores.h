// SPDX-License-Identifier: Apache-2.0
// The numbers that people want from exact counts and sums: accuracy, precision, recall, F1, MAE, RMSE, R^2,
// and the table that shows them. Pure functions. Called by train's evaluation on rank 0.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lepton::report {

struct ClassReport {
  struct Row {
    int64_t support = 0, predicted = 0, correct = 0;
    double precision = 0, recall = 0, f1 = 0;  ///< 0 where the quotient is 0 / 0
  };
  std::vector<Row> classes;
  double accuracy = 0;
  /// Means over classes that occur as target or prediction. IoU of a class: of the samples that are of it,
  /// predicted so or both, the share of the last.
  double macro_precision = 0, macro_recall = 0, macro_f1 = 0, mean_iou = 0;
};
/// confusion: classes x classes, [target][predicted].
ClassReport class_report(std::span<const int64_t> confusion, int64_t classes);
/// The same from {support, predicted, correct} of each class.
ClassReport class_report(std::span<const int64_t> by_class);
/// The area under the ROC curve: the share of pairs of one positive and one negative in which the positive
/// has the larger score, ties counted half (Hanley and McNeil 1982), from counts by score, ascending. Exact
/// but for the last rounding. NaN where one of the two is missing.
double roc_area(std::span<const int64_t> positives, std::span<const int64_t> negatives);
/// For people: a row per class and the confusion matrix (up to 20 classes).
std::string class_table(const ClassReport& report, std::span<const int64_t> confusion);

struct RegressionReport {
  double mae = 0, rmse = 0, r2 = 0;  ///< r2: NaN when the targets do not vary
};
/// From sums over `count` values: of |error|, error^2, target, target^2. Several outputs are pooled: each
/// value of each sample counts once, and the targets' variation in R^2 is that around one mean over all of
/// them (not scikit-learn's mean of an R^2 per output; the two differ where outputs have different means or
/// scales).
RegressionReport regression_report(int64_t count, double absolute_errors, double squared_errors,
                                   double targets, double squared_targets);

}  // namespace lepton::report
