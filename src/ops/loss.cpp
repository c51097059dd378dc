// SPDX-License-Identifier: Apache-2.0
// Losses (see loss.h): sums over a unit run in double in sample order, so that a loss has the same bits on
// every machine. Called by train for each unit.
#include "ops/loss.h"

#include <cmath>

#include "base/error.h"
#include "ops/loss_math.h"

namespace lepton::ops {

void LossSums::merge(const LossSums& other) {
  loss.merge(other.loss);
  samples += other.samples;
  correct += other.correct;
  correct_top5 += other.correct_top5;
  absolute_error.merge(other.absolute_error);
  squared_error.merge(other.squared_error);
  target.merge(other.target);
  target_squared.merge(other.target_squared);
}

std::vector<std::string> loss_names() {
  return {"softmax_cross_entropy", "binary_cross_entropy", "mse", "mae", "huber"};
}

Loss::Loss(LossSpec spec, int64_t outputs) : spec_(spec), outputs_(outputs) {
  CHECK(outputs >= 1, "a loss of " + std::to_string(outputs) + " outputs");
}

bool Loss::classifies() const {
  return spec_.kind == LossKind::softmax_cross_entropy || spec_.kind == LossKind::binary_cross_entropy;
}

/// Sample i of a unit.
static LossSample sample_of(std::span<const float> scores, const Targets& targets, int64_t outputs, int64_t i,
                            std::span<float> gradient) {
  const bool ids = !targets.classes.empty();
  return {scores.data() + i * outputs, ids ? targets.classes[static_cast<size_t>(i)] : -1,
          ids ? nullptr : targets.values.data() + i * outputs,
          gradient.empty() ? nullptr : gradient.data() + i * outputs};
}

UnitLoss Loss::unit(std::span<const float> scores, const Targets& targets, std::span<float> gradient) const {
  const int64_t n = static_cast<int64_t>(scores.size()) / outputs_;
  const bool ids = !targets.classes.empty();
  CHECK(static_cast<int64_t>(scores.size()) == n * outputs_, "scores are n x outputs");
  CHECK(
      static_cast<int64_t>(ids ? targets.classes.size() : targets.values.size()) == (ids ? n : n * outputs_),
      "targets for every sample");
  CHECK(classifies() || !ids, "a regression has values as targets");
  CHECK(gradient.empty() || gradient.size() == scores.size(), "a gradient like the scores");
  UnitLoss unit;
  for (int64_t i = 0; i < n; ++i)
    add_sample(spec_, outputs_, sample_of(scores, targets, outputs_, i, gradient), unit);
  return unit;
}

double Loss::run(std::span<const float> scores, const Targets& targets, std::span<float> gradient,
                 LossSums& sums) const {
  const UnitLoss unit = this->unit(scores, targets, gradient);
  add(unit, static_cast<int64_t>(scores.size()) / outputs_, sums);
  return unit.loss;
}

void Loss::add(const UnitLoss& unit, int64_t samples, LossSums& sums) const {
  if (!std::isfinite(unit.loss)) return;
  sums.loss.add(unit.loss);
  sums.samples += samples;
  sums.correct += unit.correct;
  sums.correct_top5 += unit.correct_top5;
  if (classifies()) return;
  sums.absolute_error.add(unit.absolute_error);
  sums.squared_error.add(unit.squared_error);
  sums.target.add(unit.target);
  sums.target_squared.add(unit.target_squared);
}

int64_t Loss::confusion_classes() const {
  if (spec_.kind == LossKind::softmax_cross_entropy) return outputs_ > 1 ? outputs_ : 0;
  return spec_.kind == LossKind::binary_cross_entropy && outputs_ == 1 ? 2 : 0;
}

void Loss::count_confusion(std::span<const float> scores, const Targets& targets,
                           std::span<int64_t> confusion) const {
  const int64_t classes = confusion_classes();
  const bool ids = !targets.classes.empty();
  CHECK(classes > 0 && (outputs_ == 1 || ids), "confusion needs classes");
  CHECK(static_cast<int64_t>(confusion.size()) == classes * classes, "confusion is classes x classes");
  const auto n = static_cast<int64_t>(ids ? targets.classes.size() : targets.values.size());
  for (int64_t i = 0; i < n; ++i) {
    const LossSample sample = sample_of(scores, targets, outputs_, i, {});
    ++confusion[static_cast<size_t>(confusion_place(outputs_, classes, sample))];
  }
}

}  // namespace lepton::ops
