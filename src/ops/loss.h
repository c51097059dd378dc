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
#include "ops/op.h"

namespace lepton::ops {

enum class LossKind { softmax_cross_entropy, binary_cross_entropy, mse, mae, huber };

struct LossSpec {
  LossKind kind = LossKind::softmax_cross_entropy;
  double label_smoothing = 0;  ///< softmax_cross_entropy, in [0, 1)
  double huber_delta = 1;
};

/// What one unit's scores are compared with. Class ids: `classes`, one per sample; else `values`, n x
/// outputs. A network that gives scores for each token or pixel has as many "samples" here.
struct Targets {
  std::span<const int32_t> classes;
  std::span<const float> values;
};

/// One unit's sums. Plain data. Which are filled: as in LossSums.
struct UnitLoss {
  double loss = 0, absolute_error = 0, squared_error = 0, target = 0, target_squared = 0;
  int64_t correct = 0, correct_top5 = 0;
};

/// Sums over samples; all exact, so that merging is order-free. Regression fields are filled by mse, mae,
/// huber; counts by the classifying losses.
struct LossSums {
  ExactSum loss;        ///< sum over samples of the per-sample loss (mean over outputs for element losses)
  int64_t samples = 0;  ///< every sample has weight 1 today; the lane that divides is this one
  int64_t correct = 0;  ///< argmax right (binary: every output on the right side of 0)
  int64_t correct_top5 = 0;                ///< softmax_cross_entropy only
  ExactSum absolute_error, squared_error;  ///< over all outputs
  ExactSum target, target_squared;         ///< for R^2
  void merge(const LossSums& other);
};

class Loss {
 public:
  Loss(LossSpec spec, int64_t outputs);
  /// scores: n x outputs (logits). `gradient` (n x outputs, =) may be empty: then only sums are made.
  /// Adds the unit to `sums`. Returns the unit's loss sum (Inf or NaN are returned, and then not added).
  double run(std::span<const float> scores, const Targets& targets, std::span<float> gradient,
             LossSums& sums) const;
  /// The same in two halves, for devices that compute the first: a unit's sums; and adding them, if the loss
  /// is finite.
  UnitLoss unit(std::span<const float> scores, const Targets& targets, std::span<float> gradient) const;
  void add(const UnitLoss& unit, int64_t samples, LossSums& sums) const;
  /// Classes of the confusion matrix: the outputs of softmax_cross_entropy, 2 for one output of
  /// binary_cross_entropy; 0 where there is none (regression, several labels at once).
  int64_t confusion_classes() const;
  /// confusion[target * confusion_classes() + predicted] += 1. For one output of binary_cross_entropy the
  /// target is 1 above 0.5 and the prediction above score 0 (probability 0.5), as `correct` counts.
  void count_confusion(std::span<const float> scores, const Targets& targets,
                       std::span<int64_t> confusion) const;
  const LossSpec& spec() const { return spec_; }
  bool classifies() const;
  int64_t outputs() const { return outputs_; }

 private:
  LossSpec spec_;
  int64_t outputs_;
};

std::vector<std::string> loss_names();

}  // namespace lepton::ops
