// SPDX-License-Identifier: Apache-2.0
// Losses: the sum over a unit's samples (never the mean: the one division is in the update), its gradient
// with respect to the scores, and the counts that metrics need. Sums inside a unit are taken in double in
// fixed order; across units they are exact (base/exact_sum). Called by train for each unit.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/exact_sum.h"
#include "base/philox.h"
#include "ops/op.h"

namespace lepton::ops {

/// In the order of loss_names() and of the deck's choices.
enum class LossKind {
  softmax_cross_entropy,
  binary_cross_entropy,
  mse,
  mae,
  huber,
  poisson,
  softmax_focal,
  binary_focal,
  multiclass_hinge,
  binary_hinge,
  softmax_dice,
  binary_dice
};

/// Targets are class ids, one per position; scores one per class.
LEPTON_HD constexpr bool takes_classes(LossKind kind) {
  return kind == LossKind::softmax_cross_entropy || kind == LossKind::softmax_focal ||
         kind == LossKind::multiclass_hinge || kind == LossKind::softmax_dice;
}
/// Each output is a label of its own, which holds where the score is above 0.
LEPTON_HD constexpr bool takes_labels(LossKind kind) {
  return kind == LossKind::binary_cross_entropy || kind == LossKind::binary_focal ||
         kind == LossKind::binary_hinge || kind == LossKind::binary_dice;
}

/// Plain data.
struct LossSpec {
  LossKind kind = LossKind::softmax_cross_entropy;
  double label_smoothing = 0;  ///< softmax_cross_entropy, in [0, 1)
  double huber_delta = 1;
  double focal_gamma = 2;     ///< softmax_focal, binary_focal
  double focal_alpha = 0.25;  ///< binary_focal: weight of label 1; 1 - it of label 0
  double dice_smooth = 1;     ///< softmax_dice, binary_dice: added to both parts of the quotient
  int64_t top = 5;            ///< correct_top: so many classes are tried
};

/// What a position has as class where it does not count.
constexpr int32_t ignored_class = -1;

/// Of softmax_dice, which keeps sums for each class.
constexpr int64_t dice_classes_max = 64;

/// What a loss knows of its targets, beside the spec.
struct LossTargets {
  int64_t positions = 1;                   ///< class ids per sample
  bool may_ignore = false;                 ///< some may be ignored_class
  std::vector<double> class_weights = {};  ///< one per class, from 0 up; none: all 1
};

/// What one unit's scores are compared with. Class ids: `classes`, one per position; else `values`, n x
/// outputs. A network that gives scores for each token or pixel has as many positions per sample.
struct Targets {
  std::span<const int32_t> classes;
  std::span<const float> values;
};

/// One unit's sums. Plain data. Which are filled: as in LossSums.
struct UnitLoss {
  double loss = 0, weight = 0, absolute_error = 0, squared_error = 0, target = 0, target_squared = 0;
  int64_t counted = 0, correct = 0, correct_top = 0;
};

/// Sums over samples; all exact, so that merging is order-free. Regression fields are filled by losses that
/// compare numbers; counts by the classifying losses.
struct LossSums {
  ExactSum loss;    ///< sum over positions of weight times loss (mean over outputs for element losses)
  ExactSum weight;  ///< the sum that divides it: 1 for each position, the weight of its class where classes
                    ///< have one, 0 where it is ignored; dice: 1 for each sample where something counts
  int64_t samples = 0;      ///< positions, ignored ones included: what was computed, not what counts
  int64_t counted = 0;      ///< positions that count, for the rates; binary_dice: pixels
  int64_t correct = 0;      ///< argmax right (binary: every output on the right side of 0)
  int64_t correct_top = 0;  ///< losses that take classes: the class is among the LossSpec::top largest
  ExactSum absolute_error, squared_error;  ///< over all outputs
  ExactSum target, target_squared;         ///< for R^2
  void merge(const LossSums& other);
};

/// What an evaluation counts of positions beside `correct`, for F1, IoU and ROC (report/scores). Plain data.
struct TallySpec {
  int64_t classes = 0;     ///< 0: none of them
  bool confusion = false;  ///< [target][predicted]; else of each class {support, predicted, correct}
  bool roc = false;        ///< behind them [label 0, label 1][roc_bins]: scores by the upper 16 bits
  LEPTON_HD int64_t of_classes() const { return confusion ? classes * classes : 3 * classes; }
  LEPTON_HD int64_t size() const;
};
constexpr int64_t roc_bins = 65536;
LEPTON_HD inline int64_t TallySpec::size() const {
  return of_classes() + (roc ? 2 * roc_bins : 0);
}

class Loss {
 public:
  Loss(LossSpec spec, int64_t outputs, LossTargets targets = {});
  /// scores: n x positions x outputs (logits). `gradient` (like the scores, =) may be empty: then only sums
  /// are made. Adds the unit to `sums`. Returns the unit's loss sum (Inf or NaN are returned, and then not
  /// added).
  double run(std::span<const float> scores, const Targets& targets, std::span<float> gradient,
             LossSums& sums) const;
  /// The same in two halves, for devices that compute the first: a unit's sums; and adding them, if the loss
  /// is finite. `samples`: positions.
  UnitLoss unit(std::span<const float> scores, const Targets& targets, std::span<float> gradient) const;
  void add(const UnitLoss& unit, int64_t samples, LossSums& sums) const;
  /// Classes of which an evaluation has a table: the outputs of losses that take classes, 2 for one output of
  /// a loss that takes labels and for the pixels of binary_dice; 0 where there is none (regression, several
  /// labels at once).
  int64_t confusion_classes() const;
  /// The same, but with several labels at once 2 too: each of them is counted.
  int64_t tally_classes() const;
  /// Whether scores can be ranked by one number: there are two classes.
  bool ranks() const { return tally_classes() == 2; }
  /// counts[...] += 1, as TallySpec has it. A label is 1 above 0.5 and predicted above score 0 (probability
  /// 0.5), as `correct` counts.
  void count(const TallySpec& tally, std::span<const float> scores, const Targets& targets,
             std::span<int64_t> counts) const;
  /// Whether the sum of weights depends on the targets; if not, it is weight_of(samples).
  bool weighs() const { return targets_.may_ignore || !targets_.class_weights.empty(); }
  /// Of so many whole samples.
  double weight_of(int64_t samples) const;
  /// Positions that are one term of the sum: those of a sample for softmax_dice, else 1.
  int64_t term_positions() const;
  const LossSpec& spec() const { return spec_; }
  bool classifies() const { return takes_classes(spec_.kind) || takes_labels(spec_.kind); }
  int64_t outputs() const { return outputs_; }
  std::span<const double> class_weights() const { return targets_.class_weights; }

 private:
  LossSpec spec_;
  int64_t outputs_;
  LossTargets targets_;
};

const std::vector<std::string>& loss_names();

}  // namespace lepton::ops
