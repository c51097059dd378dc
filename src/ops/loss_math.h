// SPDX-License-Identifier: Apache-2.0
// The losses of one term (a position; a sample for dice), once for host and CUDA: sums in double in output
// order, logarithms and exponentials from ops/math.h, so that the gradient has the same bits everywhere.
// Here: cross-entropies, hinges, regressions, and the choice; ops/loss_focal.h and ops/loss_dice.h have the
// others. The loops over terms: ops/loss.cpp, kernels/loss.cu.
#pragma once

#include "ops/loss_dice.h"
#include "ops/loss_focal.h"
#include "ops/loss_term.h"

namespace lepton::ops {

/// With q = w ((1 - smoothing) t + smoothing / K), w the weights of the classes:
/// loss = sum_k q_k (log sum_j e^z_j - z_k),  gradient = p sum(q) - q. PyTorch's CrossEntropyLoss for ids.
LEPTON_HD inline void softmax_cross_entropy(const LossSpec& spec, int64_t outputs, const LossTerm& s,
                                            UnitLoss& sums) {
  if (!counts_position(s, 0)) return ignore_position(outputs, s, 0);
  const int64_t predicted = largest_index(s.scores, outputs);
  const float shift = s.scores[predicted];
  const double even = spec.label_smoothing / static_cast<double>(outputs), rest = 1 - spec.label_smoothing;
  double total = 0, shares = 0, linear = 0;
  for (int64_t i = 0; i < outputs; ++i) {
    total += static_cast<double>(math::exp(s.scores[i] - shift));
    const double q = class_weight(s, i) * (rest * target_share(s, i) + even);
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
      s.gradient[i] =
          static_cast<float>(p * shares - class_weight(s, i) * (rest * target_share(s, i) + even));
    }
  const int64_t wanted = wanted_class(outputs, s, 0);
  sums.weight += class_weight(s, wanted);
  count_class(spec, outputs, s.scores, predicted, wanted, sums);
}

/// loss = mean over outputs of max(z, 0) - z t + log(1 + e^-|z|),  gradient = (sigmoid(z) - t) / K
LEPTON_HD inline void binary_cross_entropy(int64_t outputs, const LossTerm& s, UnitLoss& sums) {
  const double share = 1.0 / static_cast<double>(outputs);
  double loss = 0;
  bool correct = true;
  for (int64_t i = 0; i < outputs; ++i) {
    const float z = s.scores[i];
    const double t = label_of(outputs, s, i);
    loss += label_cross_entropy(z, t);
    correct = correct && (z > 0) == (t > 0.5);
    if (s.gradient) s.gradient[i] = static_cast<float>((static_cast<double>(math::sigmoid(z)) - t) * share);
  }
  sums.loss += loss * share;
  count_labels(correct, sums);
}

/// Crammer and Singer 2001 (Keras' categorical_hinge): loss = w max(0, 1 + max_{j != t} z_j - z_t). The
/// gradient is w at the first of the largest rivals, -w at t, 0 where the margin is kept.
LEPTON_HD inline void multiclass_hinge(const LossSpec& spec, int64_t outputs, const LossTerm& s,
                                       UnitLoss& sums) {
  if (!counts_position(s, 0)) return ignore_position(outputs, s, 0);
  const int64_t wanted = wanted_class(outputs, s, 0);
  const double weight = class_weight(s, wanted);
  int64_t rival = -1;
  double poison = 0;  // what is not finite must not hide in a margin that is kept
  for (int64_t i = 0; i < outputs; ++i) {
    poison += 0.0 * static_cast<double>(s.scores[i]);
    if (i != wanted && (rival < 0 || s.scores[i] > s.scores[rival])) rival = i;
  }
  const double margin =
      rival < 0 ? 0.0 : 1.0 + static_cast<double>(s.scores[rival]) - static_cast<double>(s.scores[wanted]);
  sums.loss += weight * (margin > 0 ? margin : 0.0) + poison;
  sums.weight += weight;
  if (s.gradient) {
    for (int64_t i = 0; i < outputs; ++i) s.gradient[i] = 0;
    if (margin > 0) {
      s.gradient[rival] = static_cast<float>(weight);
      s.gradient[wanted] = static_cast<float>(-weight);
    }
  }
  count_class(spec, outputs, s.scores, largest_index(s.scores, outputs), wanted, sums);
}

/// loss = mean over outputs of max(0, 1 - y z) with y = 1 for a target above 0 (label 1), else -1 (0 or -1).
LEPTON_HD inline void binary_hinge(int64_t outputs, const LossTerm& s, UnitLoss& sums) {
  const double share = 1.0 / static_cast<double>(outputs);
  double loss = 0;
  bool correct = true;
  for (int64_t i = 0; i < outputs; ++i) {
    const double z = static_cast<double>(s.scores[i]), y = label_of(outputs, s, i) > 0 ? 1.0 : -1.0;
    const double margin = 1 - y * z;
    loss += (margin > 0 ? margin : 0.0) + 0.0 * z;  // NaN where z is not finite
    correct = correct && (z > 0) == (y > 0);
    if (s.gradient) s.gradient[i] = static_cast<float>(margin > 0 ? -y * share : 0.0);
  }
  sums.loss += loss * share;
  count_labels(correct, sums);
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

/// Of counts with the rate e^z, up to what depends on the target alone (PyTorch's PoissonNLLLoss):
/// loss = e^z - t z,  derivative = e^z - t. What it predicts is the rate.
LEPTON_HD inline double poisson_loss(double z, double target, double& rate, double& derivative) {
  rate = math::exp_double(z);
  derivative = rate - target;
  return rate - target * z;
}

LEPTON_HD inline void regression(const LossSpec& spec, int64_t outputs, const LossTerm& s, UnitLoss& sums) {
  const double share = 1.0 / static_cast<double>(outputs);
  double loss = 0;
  for (int64_t i = 0; i < outputs; ++i) {
    const double target = static_cast<double>(s.values[i]), z = static_cast<double>(s.scores[i]);
    double derivative = 0, predicted = z;
    if (spec.kind == LossKind::poisson)
      loss += poisson_loss(z, target, predicted, derivative);
    else
      loss += error_loss(spec, z - target, derivative);
    if (s.gradient) s.gradient[i] = static_cast<float>(derivative * share);
    const double e = predicted - target;
    sums.absolute_error += std::abs(e);
    sums.squared_error += e * e;
    sums.target += target;
    sums.target_squared += target * target;
  }
  sums.loss += loss * share;
  sums.weight += 1;
  ++sums.counted;
}

/// Adds one term.
LEPTON_HD inline void add_term(const LossSpec& spec, int64_t outputs, const LossTerm& s, UnitLoss& sums) {
  switch (spec.kind) {
    case LossKind::softmax_cross_entropy:
      return softmax_cross_entropy(spec, outputs, s, sums);
    case LossKind::binary_cross_entropy:
      return binary_cross_entropy(outputs, s, sums);
    case LossKind::softmax_focal:
      return softmax_focal(spec, outputs, s, sums);
    case LossKind::binary_focal:
      return binary_focal(spec, outputs, s, sums);
    case LossKind::multiclass_hinge:
      return multiclass_hinge(spec, outputs, s, sums);
    case LossKind::binary_hinge:
      return binary_hinge(outputs, s, sums);
    case LossKind::softmax_dice:
      return softmax_dice(spec, outputs, s, sums);
    case LossKind::binary_dice:
      return binary_dice(spec, outputs, s, sums);
    default:
      return regression(spec, outputs, s, sums);
  }
}

/// Where a term's position (losses that take classes) or output (labels) counts in a tally; -1: nowhere.
struct TallyPlaces {
  int64_t place[4] = {-1, -1, -1, -1};
};

/// The upper 16 bits of a score as a number that grows with it; 0 and -0 are one.
LEPTON_HD inline int64_t roc_bin(float score) {
  const uint32_t word = math::bits(score + 0.0f);
  return (word & 0x80000000u ? ~word : word | 0x80000000u) >> 16;
}

LEPTON_HD inline int64_t tally_parts(const LossSpec& spec, int64_t outputs, const LossTerm& s) {
  return takes_classes(spec.kind) ? s.positions : outputs;
}

LEPTON_HD inline TallyPlaces tally_places(const LossSpec& spec, const TallySpec& tally, int64_t outputs,
                                          const LossTerm& s, int64_t part) {
  TallyPlaces places;
  int64_t target = 0, predicted = 0;
  float score = 0;
  if (takes_classes(spec.kind)) {
    if (!counts_position(s, part)) return places;
    const float* scores = s.scores + part * outputs;
    target = wanted_class(outputs, s, part);
    predicted = largest_index(scores, outputs);
    if (tally.roc) score = scores[1] - scores[0];
  } else {
    score = s.scores[part];
    target = label_of(outputs, s, part) > 0.5;
    predicted = score > 0;
  }
  if (tally.confusion) {
    places.place[0] = target * tally.classes + predicted;
  } else if (tally.classes > 0) {
    places.place[0] = 3 * target;
    places.place[1] = 3 * predicted + 1;
    if (target == predicted) places.place[2] = 3 * target + 2;
  }
  if (tally.roc) places.place[3] = tally.of_classes() + target * roc_bins + roc_bin(score);
  return places;
}

}  // namespace lepton::ops
