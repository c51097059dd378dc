// SPDX-License-Identifier: Apache-2.0
// Sums of evaluations to figures, against formulas in double.
#include "train/evaluation_report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "ops/loss_math.h"
#include "train/unit.h"

namespace lepton::train {
namespace {

exact::Lanes lanes_with(int64_t samples, double loss, int64_t correct, std::vector<int64_t> confusion) {
  exact::Lanes lanes(0, 1, static_cast<int>(Exact::count), static_cast<int>(Count::fixed_counts),
                     confusion.size());
  lanes.count(static_cast<int>(Count::samples)) = lanes.count(static_cast<int>(Count::counted)) = samples;
  lanes.count(static_cast<int>(Count::correct)) = correct;
  lanes.count(static_cast<int>(Count::correct_top)) = correct + 1;
  ExactSum sum;
  sum.add(loss);
  lanes.add_exact(static_cast<int>(Exact::loss), sum);
  ExactSum weight;
  weight.add(static_cast<double>(samples));
  lanes.add_exact(static_cast<int>(Exact::weight), weight);
  std::ranges::copy(confusion, lanes.tallies().begin());
  return lanes;
}

TEST(EvaluationSums, AddPartByPart) {
  exact::Lanes a = lanes_with(10, 2.5, 7, {1, 2, 3, 4}), b = lanes_with(5, 0.25, 3, {10, 20, 30, 40});
  EvaluationSums sums;
  sums.add(a);
  sums.add(b);
  EXPECT_EQ(sums.samples, 15);
  EXPECT_EQ(sums.correct, 10);
  EXPECT_EQ(sums.correct_top, 12);
  EXPECT_EQ(sums.loss.value(), 2.75);
  EXPECT_EQ(sums.tally, (std::vector<int64_t>{11, 22, 33, 44}));
}

TEST(EvaluationReport, ClassificationIsSharesOfSamples) {
  exact::Lanes lanes = lanes_with(8, 4, 6, {});
  EvaluationSums sums;
  sums.add(lanes);
  const ops::Loss loss({ops::LossKind::softmax_cross_entropy}, 10);
  const EvaluationReport report = make_report(sums, exact::RoundKind::validation, 42, loss, 1);
  EXPECT_EQ(report.step, 42);
  EXPECT_EQ(report.samples, 8);
  EXPECT_EQ(report.loss, 0.5);
  EXPECT_EQ(report.accuracy, 0.75);
  EXPECT_EQ(report.top, 0.875);
  const auto fields = report.fields();
  ASSERT_EQ(fields.size(), 3u);
  EXPECT_EQ(fields[1].first, "accuracy");
  EXPECT_EQ(fields[1].second, 0.75);
}

TEST(EvaluationReport, MetricsThatTheDeckAsksForAreOfTheTally) {
  exact::Lanes lanes = lanes_with(20, 4, 17, {5, 5, 4, 15, 15, 13});
  EvaluationSums sums;
  sums.add(lanes);
  const ops::Loss loss({.top = 3}, 2);
  const EvaluationReport report = make_report(sums, exact::RoundKind::test, 1, loss, 1, {2, false, false},
                                              {"f1", "precision", "recall", "mean_iou", "macro_f1"});
  EXPECT_DOUBLE_EQ(metric_value(report, "precision"), 13.0 / 15);
  EXPECT_DOUBLE_EQ(metric_value(report, "recall"), 13.0 / 15);
  EXPECT_DOUBLE_EQ(metric_value(report, "f1"), 26.0 / 30);
  EXPECT_DOUBLE_EQ(metric_value(report, "mean_iou"), (4.0 / 6 + 13.0 / 17) / 2);
  EXPECT_DOUBLE_EQ(metric_value(report, "macro_f1"), (8.0 / 10 + 26.0 / 30) / 2);
  const auto fields = report.fields();
  EXPECT_EQ(fields[2].first, "top3");
  EXPECT_EQ(fields[3].first, "f1");  // in the deck's order
  EXPECT_EQ(fields.size(), 8u);
  EXPECT_TRUE(larger_is_better("mean_iou"));
}

TEST(EvaluationReport, TheAreaUnderTheCurveIsBehindTheClasses) {
  std::vector<int64_t> tally(static_cast<size_t>(6 + 2 * ops::roc_bins));
  const auto add = [&](int64_t label, float score) {
    ++tally[size_t(6 + label * ops::roc_bins + ops::roc_bin(score))];
  };
  add(0, -1);
  add(0, 0.5f);
  add(1, 0.5f);
  add(1, 2);
  exact::Lanes lanes = lanes_with(4, 1, 3, tally);
  EvaluationSums sums;
  sums.add(lanes);
  const ops::Loss loss({ops::LossKind::binary_cross_entropy}, 1);
  const EvaluationReport report =
      make_report(sums, exact::RoundKind::test, 1, loss, 1, {2, false, true}, {"auc"});
  EXPECT_DOUBLE_EQ(metric_value(report, "auc"), 3.5 / 4);
}

TEST(EvaluationReport, TheMeanIsOverWhatCounts) {
  EvaluationSums sums;
  sums.samples = 12;  // 6 samples of 2 positions
  sums.counted = 8;
  sums.correct = 6;
  sums.loss.add(3);
  sums.weight.add(4);
  const ops::Loss loss({}, 3, {2, true, {0.5, 0.5, 0.5}});
  const EvaluationReport report = make_report(sums, exact::RoundKind::test, 1, loss, 2);
  EXPECT_EQ(report.samples, 6);
  EXPECT_EQ(report.accuracy, 0.75);
  EXPECT_EQ(report.loss, 0.75);
  EXPECT_EQ(report.perplexity, std::exp(0.75));
  const EvaluationReport nothing = make_report({}, exact::RoundKind::test, 1, loss, 2);
  EXPECT_EQ(nothing.loss, 0);
  const ops::Loss dice({ops::LossKind::softmax_dice}, 3, {2, false, {}});
  EXPECT_FALSE(make_report(sums, exact::RoundKind::test, 1, dice, 2).perplexity);
}

TEST(EvaluationReport, OtherLossesRankNoClasses) {
  exact::Lanes lanes = lanes_with(8, 4, 6, {});
  EvaluationSums sums;
  sums.add(lanes);
  for (const int64_t outputs : {1, 3, 10}) {
    const ops::Loss binary({ops::LossKind::binary_cross_entropy}, outputs);
    const EvaluationReport report = make_report(sums, exact::RoundKind::test, 1, binary, 1);
    EXPECT_FALSE(report.top.has_value());
    const auto fields = report.fields();
    ASSERT_EQ(fields.size(), 2u);
    EXPECT_EQ(fields[0].first, "loss");
    EXPECT_EQ(fields[1], (std::pair<std::string, double>("accuracy", 0.75)));
  }
}

TEST(EvaluationReport, RegressionAgainstTheFormulas) {
  const int64_t n = 50, outputs = 3;
  EvaluationSums sums;
  double absolute = 0, squared = 0, total = 0;
  std::vector<double> targets;
  for (int64_t i = 0; i < n * outputs; ++i) {
    const double target = std::sin(static_cast<double>(i)) * 3 + 1,
                 error = 0.3 * std::cos(static_cast<double>(i * i));
    sums.absolute_error.add(std::fabs(error));
    sums.squared_error.add(error * error);
    sums.target.add(target);
    sums.target_squared.add(target * target);
    absolute += std::fabs(error);
    squared += error * error;
    total += target;
    targets.push_back(target);
  }
  sums.samples = sums.counted = n;
  sums.weight.add(static_cast<double>(n));
  sums.loss.add(squared / outputs);
  const ops::Loss loss({ops::LossKind::mse}, outputs);
  const EvaluationReport report = make_report(sums, exact::RoundKind::test, 1, loss, 1);
  const double values = n * outputs, mean = total / values;
  double spread = 0;
  for (const double target : targets) spread += (target - mean) * (target - mean);
  EXPECT_FALSE(report.classifies);
  EXPECT_NEAR(report.mae, absolute / values, 1e-12);
  EXPECT_NEAR(report.rmse, std::sqrt(squared / values), 1e-12);
  EXPECT_NEAR(report.r2, 1 - squared / spread, 1e-9);
  EXPECT_NEAR(report.loss, squared / values, 1e-12);
  EXPECT_EQ(report.fields()[3].first, "r2");
}

TEST(EvaluationReport, TargetsThatNeverVaryHaveNoR2) {
  EvaluationSums sums;
  sums.samples = sums.counted = 2;
  sums.squared_error.add(1);
  sums.target.add(4);
  sums.target_squared.add(8);  // 2 and 2
  const EvaluationReport report =
      make_report(sums, exact::RoundKind::test, 1, ops::Loss({ops::LossKind::mse}, 1), 1);
  EXPECT_TRUE(std::isnan(report.r2));
  EXPECT_EQ(figure_text(report.r2, "{:.4f}"), "undefined");
  EXPECT_EQ(figure_text(report.rmse, "{:.4f}"), "0.7071");
  EXPECT_TRUE(std::isfinite(make_report({}, exact::RoundKind::test, 1, ops::Loss({}, 2), 1).loss));
}

TEST(EvaluationReport, TheMetricByItsName) {
  EvaluationReport report;
  report.classifies = true;
  report.loss = 1;
  report.accuracy = 2;
  report.top = 3;
  EXPECT_EQ(metric_value(report, "loss"), 1);
  EXPECT_EQ(metric_value(report, "accuracy"), 2);
  EXPECT_EQ(metric_value(report, "top5"), 3);
  report.classifies = false;
  report.mae = 4;
  report.rmse = 5;
  EXPECT_EQ(metric_value(report, "mae"), 4);
  EXPECT_EQ(metric_value(report, "rmse"), 5);
  for (const char* larger : {"accuracy", "top5", "r2"}) EXPECT_TRUE(larger_is_better(larger));
  for (const char* smaller : {"loss", "mae", "rmse"}) EXPECT_FALSE(larger_is_better(smaller));
}

TEST(EvaluationReport, SeveralLossesEachByItsName) {
  model::Graph graph;
  exact::Lanes lanes = make_lanes(graph, 1, {}, 2);
  const auto fold = [&](LossLanes to, int64_t samples, double weight, double loss, int64_t correct,
                        double squared) {
    ops::LossSums sums;
    sums.samples = sums.counted = samples;
    sums.correct = correct;
    sums.weight.add(weight);
    sums.loss.add(loss);
    sums.squared_error.add(squared);
    fold_loss(sums, to, lanes);
    EXPECT_EQ(sums.samples, 0) << "cleared";
  };
  fold({}, 4, 4, 10, 0, 0);
  fold(lanes_of_part(0), 8, 8, 2, 6, 0);
  fold(lanes_of_part(1), 4, 4, 1, 0, 36);
  const std::vector<LossPart> parts = {
      {"kind", ops::Loss({ops::LossKind::softmax_cross_entropy}, 3, {.positions = 2}), 0, 6, 2, 0.5},
      {"age", ops::Loss({ops::LossKind::mse}, 1), 6, 1, 1, 1}};
  EvaluationSums sums;
  sums.add(lanes, 2);
  const EvaluationReport report =
      make_report(sums, exact::RoundKind::test, 1, ops::Loss({ops::LossKind::mse}, 7), 1, {}, {}, parts);
  EXPECT_EQ(report.samples, 4);
  std::map<std::string, double> said;
  for (const auto& [name, value] : report.fields()) said[name] = value;
  EXPECT_EQ(report.fields().front(), (std::pair<std::string, double>("loss", 2.5)));
  EXPECT_EQ(said.at("kind.loss"), 0.25);
  EXPECT_EQ(said.at("kind.accuracy"), 0.75);
  EXPECT_TRUE(said.contains("kind.perplexity"));
  EXPECT_EQ(said.at("age.loss"), 0.25);
  EXPECT_EQ(said.at("age.rmse"), 3);
  EXPECT_FALSE(said.contains("mae"));
  Figures losses, figures;
  take_part_figures(lanes, parts, losses, figures);
  EXPECT_EQ(losses, (Figures{{"age", 0.25}, {"kind", 0.25}})) << "in the order of names";
  Figures again = losses, of_metrics = figures;
  for (auto& [name, value] : again) value = 9;
  take_part_figures(lanes, parts, again, of_metrics);
  EXPECT_EQ(again, losses);
  EXPECT_EQ(of_metrics, figures);
  EXPECT_EQ(figures, (Figures{{"kind.loss", 0.25}, {"kind.accuracy", 0.75}, {"age.loss", 0.25}}));
}

}  // namespace
}  // namespace lepton::train
