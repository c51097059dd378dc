// SPDX-License-Identifier: Apache-2.0
// Focal losses of one term (Lin, Goyal, Girshick, He and Dollar, "Focal Loss for Dense Object Detection",
// ICCV 2017): cross-entropy, times (1 - p_t)^gamma, so that what is easy counts little. p_t and 1 - p_t are
// each computed without cancellation. Called by ops/loss_math.h.
#pragma once

#include "ops/loss_term.h"

namespace lepton::ops {

/// x^y for x in [0, 1] and y from 0 up.
LEPTON_HD inline double unit_power(double x, double y) {
  if (y == 0) return 1;
  return x > 0 ? math::exp_double(y * math::log_double(x)) : x;  // 0, and NaN stays
}

/// log(1 - x) / x for x in [0, 1], given log(1 - x): near 0 by its series, where the quotient loses digits.
LEPTON_HD inline double log_ratio(double log_of_rest, double x) {
  return x < 1e-5 ? -(1 + x * (0.5 + x / 3)) : log_of_rest / x;
}

/// loss = -w u^gamma log p_t with u = 1 - p_t and w the weight of the class (the paper's alpha_t), gradient =
/// w u^gamma (gamma p_t log(p_t) / u - 1) (t - p).
LEPTON_HD inline void softmax_focal(const LossSpec& spec, int64_t outputs, const LossTerm& s,
                                    UnitLoss& sums) {
  if (!counts_position(s, 0)) return ignore_position(outputs, s, 0);
  const int64_t predicted = largest_index(s.scores, outputs), wanted = wanted_class(outputs, s, 0);
  const float shift = s.scores[predicted];
  double others = 0, own = 0;
  for (int64_t i = 0; i < outputs; ++i) {
    const double e = static_cast<double>(math::exp(s.scores[i] - shift));
    (i == wanted ? own : others) += e;
  }
  const double total = own + others, u = others / total, p = own / total;
  const bool finite = std::isfinite(total);
  const double log_p =
      finite ? static_cast<double>(s.scores[wanted]) - static_cast<double>(shift) - math::log_double(total)
             : std::numeric_limits<double>::quiet_NaN();
  const double weight = class_weight(s, wanted), power = unit_power(u, spec.focal_gamma);
  // A score of -Inf has log_p = -Inf, and power = 1 then: the loss is not finite either.
  sums.loss -= weight * power * log_p;
  sums.weight += weight;
  if (s.gradient) {
    const double slope = weight * power * (spec.focal_gamma * p * log_ratio(log_p, u) - 1);
    for (int64_t i = 0; i < outputs; ++i) {
      const double share = static_cast<double>(math::exp(s.scores[i] - shift)) / total;
      // Of the wanted class itself 1 - p, which is u.
      s.gradient[i] = static_cast<float>(i == wanted ? slope * u : -slope * share);
    }
  }
  count_class(spec, outputs, s.scores, predicted, wanted, sums);
}

/// Mean over outputs of a u^gamma CE(z, t) with p = sigmoid(z), u = t (1 - p) + (1 - t) p and
/// a = alpha t + (1 - alpha) (1 - t); gradient = a u^gamma ((p - t) - gamma (2 t - 1) CE p (1 - p) / u) / K.
/// For t of 0 and 1 the paper's; between, torchvision's sigmoid_focal_loss.
LEPTON_HD inline void binary_focal(const LossSpec& spec, int64_t outputs, const LossTerm& s, UnitLoss& sums) {
  const double share = 1.0 / static_cast<double>(outputs), gamma = spec.focal_gamma;
  double loss = 0;
  bool correct = true;
  for (int64_t i = 0; i < outputs; ++i) {
    const float z = s.scores[i];
    const double t = label_of(outputs, s, i), entropy = label_cross_entropy(z, t);
    const double p = static_cast<double>(math::sigmoid(z)), n = static_cast<double>(math::sigmoid(-z));
    const double u = t * n + (1 - t) * p, a = spec.focal_alpha * t + (1 - spec.focal_alpha) * (1 - t);
    const double factor = a * unit_power(u, gamma);
    loss += factor * entropy + 0.0 * static_cast<double>(z);  // NaN where z is not finite
    correct = correct && (z > 0) == (t > 0.5);
    if (!s.gradient) continue;
    const double bend = u > 0 ? gamma * (2 * t - 1) * entropy * (p * n / u) : 0;
    s.gradient[i] = static_cast<float>(factor * ((p - t) - bend) * share);
  }
  sums.loss += loss * share;
  count_labels(correct, sums);
}

}  // namespace lepton::ops
