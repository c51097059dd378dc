// SPDX-License-Identifier: Apache-2.0
// Against cases worked by hand.
#include "report/scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace lepton::report {
namespace {

TEST(Scores, three_classes_by_hand) {
  const std::vector<int64_t> confusion = {4, 1, 0,   // 5 of class 0
                                          2, 3, 0,   // 5 of class 1
                                          0, 0, 0};  // none of class 2, none predicted
  const ClassReport report = class_report(confusion, 3);
  EXPECT_DOUBLE_EQ(report.accuracy, 0.7);
  EXPECT_EQ(report.classes[0].support, 5);
  EXPECT_EQ(report.classes[0].predicted, 6);
  EXPECT_DOUBLE_EQ(report.classes[0].precision, 4.0 / 6);
  EXPECT_DOUBLE_EQ(report.classes[0].recall, 0.8);
  EXPECT_DOUBLE_EQ(report.classes[0].f1, 8.0 / 11);
  EXPECT_DOUBLE_EQ(report.classes[1].precision, 0.75);
  EXPECT_DOUBLE_EQ(report.classes[1].recall, 0.6);
  EXPECT_DOUBLE_EQ(report.classes[1].f1, 6.0 / 9);
  EXPECT_EQ(report.classes[2].f1, 0);
  EXPECT_DOUBLE_EQ(report.macro_f1, (8.0 / 11 + 6.0 / 9) / 2);
  EXPECT_DOUBLE_EQ(report.macro_precision, (4.0 / 6 + 0.75) / 2);
  EXPECT_DOUBLE_EQ(report.macro_recall, (0.8 + 0.6) / 2);
  EXPECT_DOUBLE_EQ(report.mean_iou, (4.0 / 7 + 3.0 / 6) / 2);
  const ClassReport again = class_report(std::vector<int64_t>{5, 6, 4, 5, 4, 3, 0, 0, 0});
  EXPECT_EQ(again.macro_f1, report.macro_f1);
  EXPECT_EQ(again.mean_iou, report.mean_iou);
  EXPECT_EQ(again.accuracy, report.accuracy);
}

TEST(Scores, a_class_that_is_only_predicted_counts_in_the_mean) {
  const ClassReport report = class_report(std::vector<int64_t>{3, 1, 0, 0}, 2);
  EXPECT_EQ(report.classes[1].recall, 0);
  EXPECT_EQ(report.classes[1].precision, 0);
  EXPECT_DOUBLE_EQ(report.macro_f1, (6.0 / 7) / 2);
}

TEST(Scores, nothing_at_all) {
  const ClassReport report = class_report(std::vector<int64_t>{0, 0, 0, 0}, 2);
  EXPECT_EQ(report.accuracy, 0);
  EXPECT_EQ(report.macro_f1, 0);
}

TEST(Scores, table_with_and_without_the_matrix) {
  const std::vector<int64_t> confusion = {4, 1, 2, 13};
  EXPECT_EQ(class_table(class_report(confusion, 2), confusion),
            " class    support  precision     recall         F1\n"
            "     0          5     0.6667     0.8000     0.7273\n"
            "     1         15     0.9286     0.8667     0.8966\n"
            "accuracy 0.8500, macro F1 0.8119\n"
            "\n"
            "confusion (row: target, column: predicted)\n"
            "        0  1\n"
            "     0  4  1\n"
            "     1  2 13\n");
  const std::vector<int64_t> many(21 * 21, 1);
  EXPECT_EQ(class_table(class_report(many, 21), many).find("confusion"), std::string::npos);
  const std::vector<int64_t> twenty(20 * 20, 1);
  EXPECT_NE(class_table(class_report(twenty, 20), twenty).find("confusion"), std::string::npos);
}

TEST(Scores, the_area_under_the_roc_curve_is_a_share_of_pairs) {
  using Counts = std::vector<int64_t>;
  EXPECT_EQ(roc_area(Counts{0, 0, 3}, Counts{2, 4, 0}), 1);
  EXPECT_EQ(roc_area(Counts{3, 0, 0}, Counts{0, 4, 2}), 0);
  EXPECT_EQ(roc_area(Counts{0, 5, 0}, Counts{0, 7, 0}), 0.5);
  // Positives at 1, 2, 2; negatives at 0, 1: pairs 1 + 1/2, 2, 2 of 6.
  EXPECT_DOUBLE_EQ(roc_area(Counts{0, 1, 2}, Counts{1, 1, 0}), 5.5 / 6);
  EXPECT_TRUE(std::isnan(roc_area(Counts{0, 0, 0}, Counts{1, 1, 0})));
  EXPECT_TRUE(std::isnan(roc_area(Counts{0, 1, 0}, Counts{0, 0, 0})));
  const int64_t many = int64_t{1} << 40;  // whose pairs are more than 64 bits hold
  EXPECT_EQ(roc_area(Counts{many, 3 * many}, Counts{many, many}), (0.5 + 3 + 1.5) / 8);
}

TEST(Scores, regression_by_hand) {
  // targets 1, 2, 3; predictions 1, 2, 5
  const RegressionReport report = regression_report(3, 2, 4, 6, 14);
  EXPECT_DOUBLE_EQ(report.mae, 2.0 / 3);
  EXPECT_DOUBLE_EQ(report.rmse, std::sqrt(4.0 / 3));
  EXPECT_DOUBLE_EQ(report.r2, 1 - 4.0 / 2);
}

TEST(Scores, r2_of_targets_that_do_not_vary_is_undefined) {
  EXPECT_TRUE(std::isnan(regression_report(2, 1, 1, 4, 8).r2));  // targets 2, 2
  EXPECT_TRUE(std::isnan(regression_report(3, 0, 0, 0, 0).r2));
  double targets = 0, squares = 0;  // of 0.1 in double, whose sums are rounded
  for (int i = 0; i < 1000; ++i) targets += 0.1, squares += 0.1 * 0.1;
  EXPECT_NE(squares, targets * targets / 1000);
  EXPECT_TRUE(std::isnan(regression_report(1000, 1, 1, targets, squares).r2));
}

TEST(Scores, outputs_are_pooled_around_one_mean) {
  // Two outputs: targets (0, 10), (2, 12); predictions (0, 10), (0, 12). The mean of all targets is 6.
  const RegressionReport report = regression_report(4, 2, 4, 24, 0 + 100 + 4 + 144);
  EXPECT_DOUBLE_EQ(report.r2, 1 - 4.0 / (36 + 16 + 16 + 36));
}

}  // namespace
}  // namespace lepton::report
