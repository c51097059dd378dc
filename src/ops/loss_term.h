// SPDX-License-Identifier: Apache-2.0
// One term of a loss, and what all kinds of losses ask of it. For host and CUDA. Called by ops/loss_math.h,
// ops/loss_focal.h and ops/loss_dice.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "ops/loss.h"
#include "ops/math.h"

namespace lepton::ops {

/// Its scores (positions x outputs), what they should be, and where its gradient goes (null: nowhere).
struct LossTerm {
  const float* scores;
  const int32_t* classes;  ///< one per position; null: values
  const float* values;
  float* gradient;
  const double* class_weights = nullptr;  ///< per output; null: all 1
  int64_t positions = 1;
  double* scratch = nullptr;  ///< 2 x outputs; softmax_dice only
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

LEPTON_HD inline bool counts_position(const LossTerm& s, int64_t position) {
  return !s.classes || s.classes[position] != ignored_class;
}

/// No gradient, no sums.
LEPTON_HD inline void ignore_position(int64_t outputs, const LossTerm& s, int64_t position) {
  if (s.gradient)
    for (int64_t i = 0; i < outputs; ++i) s.gradient[position * outputs + i] = 0;
}

LEPTON_HD inline double target_share(const LossTerm& s, int64_t i) {
  return s.classes ? static_cast<double>(i == s.classes[0]) : static_cast<double>(s.values[i]);
}

/// The target of an output that is a label. One output may have class ids, 0 and 1.
LEPTON_HD inline double label_of(int64_t outputs, const LossTerm& s, int64_t i) {
  return outputs == 1 && s.classes ? static_cast<double>(s.classes[0]) : target_share(s, i);
}

LEPTON_HD inline int64_t wanted_class(int64_t outputs, const LossTerm& s, int64_t position) {
  return s.classes ? s.classes[position] : largest_index(s.values + position * outputs, outputs);
}

LEPTON_HD inline double class_weight(const LossTerm& s, int64_t i) {
  return s.class_weights ? s.class_weights[i] : 1.0;
}

LEPTON_HD inline void count_class(const LossSpec& spec, int64_t outputs, const float* scores,
                                  int64_t predicted, int64_t wanted, UnitLoss& sums) {
  ++sums.counted;
  sums.correct += predicted == wanted;
  sums.correct_top += rank_of(scores, outputs, wanted) < spec.top;
}

LEPTON_HD inline void count_labels(bool correct, UnitLoss& sums) {
  sums.weight += 1;
  ++sums.counted;
  sums.correct += correct;
}

/// -t log p - (1 - t) log(1 - p) with p = sigmoid(z): max(z, 0) - z t + log(1 + e^-|z|).
LEPTON_HD inline double label_cross_entropy(float z, double t) {
  const double wide = static_cast<double>(z);
  const double tail = math::log_double(1.0 + static_cast<double>(math::exp(-math::magnitude(z))));
  return z != z ? wide : (z > 0 ? wide : 0.0) - wide * t + tail;
}

}  // namespace lepton::ops
