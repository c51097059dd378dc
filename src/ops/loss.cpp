// SPDX-License-Identifier: Apache-2.0
// Losses (see loss.h). Logarithms and exponentials come from ops/math.h, sums over a unit run in double in
// sample order, so that a loss has the same bits on every machine. Called by train for each unit.
#include "ops/loss.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/math.h"

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

namespace {

/// One unit's sums in double; added to the exact sums at the end, if finite.
struct UnitSums {
  double loss = 0, absolute = 0, square = 0, target = 0, target_square = 0;
  int64_t correct = 0, top5 = 0;
};

/// One sample: its scores, what they should be, and where its gradient goes (null: nowhere).
struct Sample {
  const float* scores;
  int64_t target_class;  ///< -1: values
  const float* values;
  float* gradient;
};

// The first of equal maxima.
int64_t largest_index(const float* x, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 1; i < count; ++i)
    if (x[i] > x[best]) best = i;
  return best;
}

// How many outputs rank before `index`: larger, or equal and earlier.
int64_t rank_of(const float* x, int64_t count, int64_t index) {
  int64_t before = 0;
  for (int64_t i = 0; i < count; ++i) before += x[i] > x[index] || (x[i] == x[index] && i < index);
  return before;
}

double target_share(const Sample& s, int64_t i) {
  return s.target_class >= 0 ? static_cast<double>(i == s.target_class) : static_cast<double>(s.values[i]);
}

// With q = (1 - smoothing) t + smoothing / K:  loss = sum_k q_k (log sum_j e^z_j - z_k),  gradient = p sum(q)
// - q.
void softmax_cross_entropy(const LossSpec& spec, int64_t outputs, const Sample& s, UnitSums& sums) {
  const int64_t predicted = largest_index(s.scores, outputs);
  const float shift = s.scores[predicted];
  const double even = spec.label_smoothing / static_cast<double>(outputs), rest = 1 - spec.label_smoothing;
  double total = 0, shares = 0, linear = 0;
  for (int64_t i = 0; i < outputs; ++i) {
    total += static_cast<double>(math::exp(s.scores[i] - shift));
    const double q = rest * target_share(s, i) + even;
    shares += q;
    // 0 * Inf would be NaN where a score of -Inf has no share.
    if (q != 0) linear += q * (static_cast<double>(s.scores[i]) - static_cast<double>(shift));
  }
  // A NaN or Inf among the scores makes total NaN; log_double wants a number.
  const bool finite = std::isfinite(total);
  sums.loss += finite ? shares * math::log_double(total) - linear : std::numeric_limits<double>::quiet_NaN();
  if (s.gradient)
    for (int64_t i = 0; i < outputs; ++i) {
      const double p = static_cast<double>(math::exp(s.scores[i] - shift)) / total;
      s.gradient[i] = static_cast<float>(p * shares - (rest * target_share(s, i) + even));
    }
  const int64_t wanted = s.target_class >= 0 ? s.target_class : largest_index(s.values, outputs);
  sums.correct += predicted == wanted;
  sums.top5 += rank_of(s.scores, outputs, wanted) < 5;
}

// loss = mean over outputs of max(z, 0) - z t + log(1 + e^-|z|),  gradient = (sigmoid(z) - t) / K
void binary_cross_entropy(int64_t outputs, const Sample& s, UnitSums& sums) {
  const double share = 1.0 / static_cast<double>(outputs);
  double loss = 0;
  bool correct = true;
  for (int64_t i = 0; i < outputs; ++i) {
    const float z = s.scores[i];
    const double t =
        outputs == 1 && s.target_class >= 0 ? static_cast<double>(s.target_class) : target_share(s, i);
    const double wide = static_cast<double>(z);
    const double tail = math::log_double(1.0 + static_cast<double>(math::exp(-math::magnitude(z))));
    loss += z != z ? wide : (z > 0 ? wide : 0.0) - wide * t + tail;
    correct = correct && (z > 0) == (t > 0.5);
    if (s.gradient) s.gradient[i] = static_cast<float>((static_cast<double>(math::sigmoid(z)) - t) * share);
  }
  sums.loss += loss * share;
  sums.correct += correct;
}

// One output of a regression: returns the loss of the error e and sets its derivative.
double error_loss(const LossSpec& spec, double e, double& derivative) {
  const double size = std::abs(e), sign = e > 0 ? 1.0 : e < 0 ? -1.0 : e;
  if (spec.kind == LossKind::mse) {
    derivative = 2 * e;
    return e * e;
  }
  if (spec.kind == LossKind::mae) {
    derivative = sign;
    return size;
  }
  // Huber 1964: quadratic up to delta, then linear.
  const bool inner = size <= spec.huber_delta;
  derivative = inner ? e : spec.huber_delta * sign;
  return inner ? 0.5 * e * e : spec.huber_delta * (size - 0.5 * spec.huber_delta);
}

void regression(const LossSpec& spec, int64_t outputs, const Sample& s, UnitSums& sums) {
  const double share = 1.0 / static_cast<double>(outputs);
  double loss = 0;
  for (int64_t i = 0; i < outputs; ++i) {
    const double target = static_cast<double>(s.values[i]), e = static_cast<double>(s.scores[i]) - target;
    double derivative = 0;
    loss += error_loss(spec, e, derivative);
    if (s.gradient) s.gradient[i] = static_cast<float>(derivative * share);
    sums.absolute += std::abs(e);
    sums.square += e * e;
    sums.target += target;
    sums.target_square += target * target;
  }
  sums.loss += loss * share;
}

}  // namespace

double Loss::run(std::span<const float> scores, const Targets& targets, std::span<float> gradient,
                 LossSums& sums) const {
  const int64_t n = static_cast<int64_t>(scores.size()) / outputs_;
  const bool ids = !targets.classes.empty();
  CHECK(static_cast<int64_t>(scores.size()) == n * outputs_, "scores are n x outputs");
  CHECK(
      static_cast<int64_t>(ids ? targets.classes.size() : targets.values.size()) == (ids ? n : n * outputs_),
      "targets for every sample");
  CHECK(classifies() || !ids, "a regression has values as targets");
  CHECK(gradient.empty() || gradient.size() == scores.size(), "a gradient like the scores");
  UnitSums unit;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = i * outputs_;
    const Sample sample{scores.data() + row, ids ? targets.classes[static_cast<size_t>(i)] : -1,
                        ids ? nullptr : targets.values.data() + row,
                        gradient.empty() ? nullptr : gradient.data() + row};
    if (spec_.kind == LossKind::softmax_cross_entropy)
      softmax_cross_entropy(spec_, outputs_, sample, unit);
    else if (spec_.kind == LossKind::binary_cross_entropy)
      binary_cross_entropy(outputs_, sample, unit);
    else
      regression(spec_, outputs_, sample, unit);
  }
  if (!std::isfinite(unit.loss)) return unit.loss;
  sums.loss.add(unit.loss);
  sums.samples += n;
  sums.correct += unit.correct;
  sums.correct_top5 += unit.top5;
  if (!classifies()) {
    sums.absolute_error.add(unit.absolute);
    sums.squared_error.add(unit.square);
    sums.target.add(unit.target);
    sums.target_squared.add(unit.target_square);
  }
  return unit.loss;
}

int64_t Loss::confusion_classes() const {
  if (spec_.kind == LossKind::softmax_cross_entropy) return outputs_ > 1 ? outputs_ : 0;
  return spec_.kind == LossKind::binary_cross_entropy && outputs_ == 1 ? 2 : 0;
}

void Loss::count_confusion(std::span<const float> scores, const Targets& targets,
                           std::span<int64_t> confusion) const {
  const int64_t classes = confusion_classes();
  const bool binary = outputs_ == 1, ids = !targets.classes.empty();
  CHECK(classes > 0 && (binary || ids), "confusion needs classes");
  CHECK(static_cast<int64_t>(confusion.size()) == classes * classes, "confusion is classes x classes");
  const size_t n = ids ? targets.classes.size() : targets.values.size();
  for (size_t i = 0; i < n; ++i) {
    const float* row = scores.data() + static_cast<int64_t>(i) * outputs_;
    const int64_t predicted = binary ? row[0] > 0 : largest_index(row, outputs_);
    const int64_t target = ids ? targets.classes[i] : targets.values[i] > 0.5f;
    ++confusion[static_cast<size_t>(target * classes + predicted)];
  }
}

}  // namespace lepton::ops
