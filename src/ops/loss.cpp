// SPDX-License-Identifier: Apache-2.0
// Losses (see loss.h): sums over a unit run in double in sample order, so that a loss has the same bits on
// every machine. Called by train for each unit.
#include "ops/loss.h"

#include <cmath>
#include <utility>

#include "base/error.h"
#include "ops/loss_math.h"

namespace lepton::ops {

void LossSums::merge(const LossSums& other) {
  loss.merge(other.loss);
  weight.merge(other.weight);
  samples += other.samples;
  counted += other.counted;
  correct += other.correct;
  correct_top += other.correct_top;
  absolute_error.merge(other.absolute_error);
  squared_error.merge(other.squared_error);
  target.merge(other.target);
  target_squared.merge(other.target_squared);
}

const std::vector<std::string>& loss_names() {
  static const std::vector<std::string> names = {"softmax_cross_entropy",
                                                 "binary_cross_entropy",
                                                 "mse",
                                                 "mae",
                                                 "huber",
                                                 "poisson",
                                                 "softmax_focal",
                                                 "binary_focal",
                                                 "multiclass_hinge",
                                                 "binary_hinge",
                                                 "softmax_dice",
                                                 "binary_dice"};
  return names;
}

Loss::Loss(LossSpec spec, int64_t outputs, LossTargets targets)
    : spec_(spec), outputs_(outputs), targets_(std::move(targets)) {
  CHECK(outputs >= 1, "a loss of " + std::to_string(outputs) + " outputs");
  CHECK(targets_.positions >= 1, "positions of a sample");
  CHECK(spec_.kind != LossKind::softmax_dice || outputs <= dice_classes_max, "too many classes for dice");
  CHECK(targets_.class_weights.empty() || std::ssize(targets_.class_weights) == outputs,
        "a weight for each class");
}

/// Term i of a unit.
static LossTerm term_of(std::span<const float> scores, const Targets& targets, int64_t outputs,
                        int64_t positions, std::span<const double> class_weights, int64_t i,
                        std::span<float> gradient) {
  const bool ids = !targets.classes.empty();
  const int64_t first = i * positions * outputs;
  return {scores.data() + first,
          ids ? targets.classes.data() + i * positions : nullptr,
          ids ? nullptr : targets.values.data() + first,
          gradient.empty() ? nullptr : gradient.data() + first,
          class_weights.empty() ? nullptr : class_weights.data(),
          positions};
}

UnitLoss Loss::unit(std::span<const float> scores, const Targets& targets, std::span<float> gradient) const {
  const int64_t n = static_cast<int64_t>(scores.size()) / outputs_, together = term_positions();
  const bool ids = !targets.classes.empty();
  CHECK(static_cast<int64_t>(scores.size()) == n * outputs_ && n % together == 0, "scores are n x outputs");
  CHECK(
      static_cast<int64_t>(ids ? targets.classes.size() : targets.values.size()) == (ids ? n : n * outputs_),
      "targets for every sample");
  CHECK(classifies() || !ids, "a regression has values as targets");
  CHECK(gradient.empty() || gradient.size() == scores.size(), "a gradient like the scores");
  UnitLoss unit;
  double scratch[2 * dice_classes_max];
  for (int64_t i = 0; i < n / together; ++i) {
    LossTerm term = term_of(scores, targets, outputs_, together, targets_.class_weights, i, gradient);
    term.scratch = scratch;
    add_term(spec_, outputs_, term, unit);
  }
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
  sums.weight.add(unit.weight);
  sums.samples += samples;
  sums.counted += unit.counted;
  sums.correct += unit.correct;
  sums.correct_top += unit.correct_top;
  if (classifies()) return;
  sums.absolute_error.add(unit.absolute_error);
  sums.squared_error.add(unit.squared_error);
  sums.target.add(unit.target);
  sums.target_squared.add(unit.target_squared);
}

int64_t Loss::confusion_classes() const {
  return takes_labels(spec_.kind) && outputs_ > 1 && spec_.kind != LossKind::binary_dice ? 0
                                                                                         : tally_classes();
}

int64_t Loss::tally_classes() const {
  if (takes_classes(spec_.kind)) return outputs_ > 1 ? outputs_ : 0;
  return takes_labels(spec_.kind) ? 2 : 0;
}

double Loss::weight_of(int64_t samples) const {
  return static_cast<double>(samples * (targets_.positions / term_positions()));
}

int64_t Loss::term_positions() const {
  return spec_.kind == LossKind::softmax_dice ? targets_.positions : 1;
}

void Loss::count(const TallySpec& tally, std::span<const float> scores, const Targets& targets,
                 std::span<int64_t> counts) const {
  CHECK((tally.classes == 0 || tally.classes == tally_classes()) && (!tally.roc || ranks()),
        "a tally of other classes");
  CHECK(static_cast<int64_t>(counts.size()) == tally.size(), "room for the counts");
  const auto n = static_cast<int64_t>(scores.size()) / outputs_;
  for (int64_t i = 0; i < n; ++i) {
    const LossTerm term = term_of(scores, targets, outputs_, 1, {}, i, {});
    for (int64_t part = 0; part < tally_parts(spec_, outputs_, term); ++part) {
      const TallyPlaces places = tally_places(spec_, tally, outputs_, term, part);
      for (const int64_t place : places.place)
        if (place >= 0) ++counts[static_cast<size_t>(place)];
    }
  }
}

}  // namespace lepton::ops
