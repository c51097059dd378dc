// SPDX-License-Identifier: Apache-2.0
// The losses of one sample, once for host and CUDA: sums in double in output order, logarithms and
// exponentials from ops/math.h, so that the gradient has the same bits everywhere. The loops over samples:
// ops/loss.cpp, kernels/loss.cu.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "ops/loss.h"
#include "ops/math.h"

namespace lepton::ops {

/// One sample: its scores, what they should be, and where its gradient goes (null: nowhere).
struct LossSample {
  const float* scores;
  int64_t target_class;  ///< -1: values
  const float* values;
  float* gradient;
};

/// The first of equal maxima.
LEPTON_HD inline int64_t largest_index(const float* x, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 1; i < count; ++i)
    if (x[i] > x[best]) best = i;
  return best;
}

/// How many outputs rank before `index`: larger, or equal and earlier.
LEPTON_HD inline int64_t rank_of(const float* x, int64_t count, int64_t index) {
  int64_t before = 0;
  for (int64_t i = 0; i < count; ++i) before += x[i] > x[index] || (x[i] == x[index] && i < index);
  return before;
}

LEPTON_HD inline double target_share(const LossSample& s, int64_t i) {
  return s.target_class >= 0 ? static_cast<double>(i == s.target_class) : static_cast<double>(s.values[i]);
}

/// With q = (1 - smoothing) t + smoothing / K:  loss = sum_k q_k (log sum_j e^z_j - z_k),  gradient = p
/// sum(q)
// - q.
LEPTON_HD inline void softmax_cross_entropy(const LossSpec& spec, int64_t outputs, const LossSample& s,
                                            UnitLoss& sums) {
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
  sums.correct_top5 += rank_of(s.scores, outputs, wanted) < 5;
}

/// loss = mean over outputs of max(z, 0) - z t + log(1 + e^-|z|),  gradient = (sigmoid(z) - t) / K
LEPTON_HD inline void binary_cross_entropy(int64_t outputs, const LossSample& s, UnitLoss& sums) {
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

/// One output of a regression: returns the loss of the error e and sets its derivative.
LEPTON_HD inline double error_loss(const LossSpec& spec, double e, double& derivative) {
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

LEPTON_HD inline void regression(const LossSpec& spec, int64_t outputs, const LossSample& s, UnitLoss& sums) {
  const double share = 1.0 / static_cast<double>(outputs);
  double loss = 0;
  for (int64_t i = 0; i < outputs; ++i) {
    const double target = static_cast<double>(s.values[i]), e = static_cast<double>(s.scores[i]) - target;
    double derivative = 0;
    loss += error_loss(spec, e, derivative);
    if (s.gradient) s.gradient[i] = static_cast<float>(derivative * share);
    sums.absolute_error += std::abs(e);
    sums.squared_error += e * e;
    sums.target += target;
    sums.target_squared += target * target;
  }
  sums.loss += loss * share;
}

/// Adds one sample.
LEPTON_HD inline void add_sample(const LossSpec& spec, int64_t outputs, const LossSample& s, UnitLoss& sums) {
  if (spec.kind == LossKind::softmax_cross_entropy)
    softmax_cross_entropy(spec, outputs, s, sums);
  else if (spec.kind == LossKind::binary_cross_entropy)
    binary_cross_entropy(outputs, s, sums);
  else
    regression(spec, outputs, s, sums);
}

/// confusion[target * classes + predicted] is what one sample counts in. `classes`: 2 for one output.
LEPTON_HD inline int64_t confusion_place(int64_t outputs, int64_t classes, const LossSample& s) {
  const int64_t predicted = outputs == 1 ? s.scores[0] > 0 : largest_index(s.scores, outputs);
  const int64_t target = s.target_class >= 0 ? s.target_class : s.values[0] > 0.5f;
  return target * classes + predicted;
}

}  // namespace lepton::ops
