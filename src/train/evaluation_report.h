// SPDX-License-Identifier: Apache-2.0
// What an evaluation says, from exact sums: means over what counts, rates, and the metrics that the deck asks
// for. The same on all leaders. Called by conductor, which merges the sums of an evaluation's parts, and by
// those who show it: bookkeeper and the command evaluate.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/exact_sum.h"
#include "exact/lanes.h"
#include "ops/loss.h"
#include "report/scores.h"
#include "train/loss_parts.h"

namespace lepton::train {

/// The mean of a loss. Where nothing counts its sum is 0, and so is the mean.
double mean_of(const ExactSum& sum, double weight);

/// Sums of an evaluation over its parts.
struct EvaluationSums {
  int64_t samples = 0, counted = 0, correct = 0, correct_top = 0;
  ExactSum loss, weight, absolute_error, squared_error, target, target_squared;
  std::vector<int64_t> tally;
  std::vector<EvaluationSums> parts;  ///< of each of several losses
  /// With the lanes of so many.
  void add(exact::Lanes& lanes, size_t part_count = 0);
};

/// Of sums that have such a tally, of classes.
report::ClassReport class_report(const EvaluationSums& sums, const ops::TallySpec& tally);

/// What an evaluation says. Figures that do not apply are absent from fields(); an r2 that is undefined (the
/// targets do not vary) is NaN, which is null in JSON.
struct EvaluationReport {
  exact::RoundKind kind = exact::RoundKind::test;
  int64_t step = 0;
  int64_t samples = 0;
  bool classifies = false;
  double loss = 0, mae = 0, rmse = 0, r2 = 0;
  double accuracy = 0;               ///< several binary outputs: share of samples with all of them right
  std::optional<double> top;         ///< losses that take classes: right among so many,
  int64_t top_classes = 5;           ///< as evaluation.top_k says
  std::optional<double> perplexity;  ///< e^loss, where each token has a class
  std::vector<std::pair<std::string, double>> metrics;  ///< that the deck asks for
  bool improved = false;                                ///< the best so far, at a regular evaluation
  /// Of each of several losses by its name, whose fields come behind the loss as a whole: "NAME.accuracy".
  std::vector<std::pair<std::string, EvaluationReport>> parts;
  std::vector<std::pair<std::string, double>> fields() const;
};
/// `positions`: class ids per sample; losses and rates are means over them. `metrics`: names as in
/// evaluation.metrics, of what `tally` has.
EvaluationReport make_report(const EvaluationSums& sums, exact::RoundKind kind, int64_t step,
                             const ops::Loss& loss, int64_t positions, const ops::TallySpec& tally = {},
                             const std::vector<std::string>& metrics = {},
                             std::span<const LossPart> parts = {});
using Figures = std::vector<std::pair<std::string, double>>;
/// What a training step says of each of several losses: their means in the order of their names, for the
/// ledger; and for metrics "NAME.loss" and, where it classifies, "NAME.accuracy". Both are empty or of the
/// step before.
void take_part_figures(exact::Lanes& lanes, std::span<const LossPart> parts, Figures& losses,
                       Figures& figures);
/// A figure for people, by an fmt format; "undefined" where it is NaN.
std::string figure_text(double value, const std::string& format);
/// The deck's metric in a report, and whether a larger one is better.
double metric_value(const EvaluationReport& report, const std::string& metric);
bool larger_is_better(const std::string& metric);

}  // namespace lepton::train
