// SPDX-License-Identifier: Apache-2.0
// Soft dice losses of one sample (Milletari, Navab and Ahmadi, "V-Net", 3DV 2016): 1 - D with
// D = (2 sum p t + s) / (sum p^2 + sum t^2 + s) over the sample's pixels and s = dice_smooth, which makes D 1
// where a class is neither there nor predicted. Called by ops/loss_math.h.
#pragma once

#include "ops/loss_term.h"

namespace lepton::ops {

/// The outputs are the pixels of one class, p = sigmoid(z):
/// gradient = (2 D p - 2 t) / (sum p^2 + sum t^2 + s) * p (1 - p).
LEPTON_HD inline void binary_dice(const LossSpec& spec, int64_t outputs, const LossTerm& s, UnitLoss& sums) {
  double both = 0, squares = 0, poison = 0;
  for (int64_t i = 0; i < outputs; ++i) {
    const double t = label_of(outputs, s, i), p = static_cast<double>(math::sigmoid(s.scores[i]));
    both += p * t;
    squares += p * p + t * t;
    poison += 0.0 * static_cast<double>(s.scores[i]);
    sums.correct += (s.scores[i] > 0) == (t > 0.5);
  }
  const double divisor = squares + spec.dice_smooth, dice = (2 * both + spec.dice_smooth) / divisor;
  sums.loss += 1 - dice + poison;
  sums.weight += 1;
  sums.counted += outputs;
  if (!s.gradient) return;
  for (int64_t i = 0; i < outputs; ++i) {
    const double t = label_of(outputs, s, i), p = static_cast<double>(math::sigmoid(s.scores[i]));
    const double slope = p * static_cast<double>(math::sigmoid(-s.scores[i]));
    s.gradient[i] = static_cast<float>(2 * (dice * p - t) / divisor * slope);
  }
}

/// The softmax of one position's scores.
struct PositionSoftmax {
  const float* scores;
  int64_t predicted;
  double total = 0;
  LEPTON_HD PositionSoftmax(const float* z, int64_t outputs)
      : scores(z), predicted(largest_index(z, outputs)) {
    for (int64_t i = 0; i < outputs; ++i) total += exponential(i);
  }
  LEPTON_HD double exponential(int64_t i) const {
    return static_cast<double>(math::exp(scores[i] - scores[predicted]));
  }
  LEPTON_HD double share(int64_t i) const { return exponential(i) / total; }
};

/// The dice gradient of one position: with g_c = dloss / dp_c, gradient_j = p_j (g_j - sum_c p_c g_c).
LEPTON_HD inline void softmax_dice_gradient(int64_t outputs, const float* scores, int64_t wanted,
                                            const double* dice, const double* divisor, float* gradient) {
  const PositionSoftmax softmax(scores, outputs);
  const double share = 2.0 / static_cast<double>(outputs);
  const auto slope = [&](int64_t c, double p) {
    return share * (dice[c] * p - static_cast<double>(c == wanted)) / divisor[c];
  };
  double mean = 0;
  for (int64_t c = 0; c < outputs; ++c) {
    const double p = softmax.share(c);
    mean += p * slope(c, p);
  }
  for (int64_t c = 0; c < outputs; ++c) {
    const double p = softmax.share(c);
    gradient[c] = static_cast<float>(p * (slope(c, p) - mean));
  }
}

/// 1 - the mean of D over the classes, p = softmax(z) at each position. Positions that are ignored are in no
/// sum; a sample without any other has no loss and no weight.
LEPTON_HD inline void softmax_dice(const LossSpec& spec, int64_t outputs, const LossTerm& s, UnitLoss& sums) {
  double *both = s.scratch, *squares = s.scratch + outputs;
  for (int64_t c = 0; c < outputs; ++c) both[c] = squares[c] = 0;
  int64_t counted = 0;
  for (int64_t position = 0; position < s.positions; ++position) {
    if (!counts_position(s, position)) continue;
    const float* scores = s.scores + position * outputs;
    const PositionSoftmax softmax(scores, outputs);
    const int64_t wanted = wanted_class(outputs, s, position);
    for (int64_t c = 0; c < outputs; ++c) {
      const double p = softmax.share(c);
      squares[c] += p * p;
      if (c != wanted) continue;
      both[c] += p;
      squares[c] += 1;
    }
    ++counted;
    count_class(spec, outputs, scores, softmax.predicted, wanted, sums);
  }
  if (counted > 0) {
    double mean = 0;
    for (int64_t c = 0; c < outputs; ++c) {
      squares[c] += spec.dice_smooth;
      both[c] = (2 * both[c] + spec.dice_smooth) / squares[c];
      mean += both[c];
    }
    sums.loss += 1 - mean / static_cast<double>(outputs);
    sums.weight += 1;
  }
  if (!s.gradient) return;
  for (int64_t position = 0; position < s.positions; ++position) {
    const int64_t first = position * outputs;
    if (counts_position(s, position))
      softmax_dice_gradient(outputs, s.scores + first, wanted_class(outputs, s, position), both, squares,
                            s.gradient + first);
    else
      ignore_position(outputs, s, position);
  }
}

}  // namespace lepton::ops
