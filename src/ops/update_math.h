// SPDX-License-Identifier: Apache-2.0
// The update rules for one element, once for host and CUDA: only + - * / sqrt in the order written, so that
// contraction off (-ffp-contract=off, -fmad=false) gives the same bits. The loops over them: ops/update.cpp,
// kernels/update.cu.
#pragma once

#include <cmath>

#include "base/philox.h"
#include "ops/update.h"

namespace lepton::ops {

/// Comparisons keep NaN.
LEPTON_HD_ELEMENT inline float clipped(float x, float limit) {
  const float low = x < -limit ? -limit : x;
  return low > limit ? limit : low;
}

/// `mean`: the gradient sum divided by the sum of weights.
LEPTON_HD_ELEMENT inline float normalised(float mean, float factor, float l2, float w, float limit) {
  return clipped(mean * factor + l2 * w, limit);
}

/// The step for a tensor, without decay where it does not decay.
LEPTON_HD_ELEMENT inline SgdStep step_for(SgdStep step, bool decays) {
  step.decay = decays ? step.decay : 0.0f;
  return step;
}
LEPTON_HD_ELEMENT inline AdamStep step_for(AdamStep step, bool decays) {
  step.decay = decays ? step.decay : 0.0f;
  step.keep = decays ? step.keep : 1.0f;
  return step;
}

struct SgdElement {
  float w, v;
};
LEPTON_HD_ELEMENT inline SgdElement sgd_element(const SgdStep& k, float g, float w, float v) {
  const float gradient = g + k.decay * w;
  const float velocity = k.momentum * v + gradient;
  const float nesterov = gradient + k.momentum * velocity;
  return {w - k.learning_rate * (k.nesterov ? nesterov : velocity), velocity};
}

LEPTON_HD_ELEMENT inline float sgd_plain_element(const SgdStep& k, float g, float w) {
  return w - k.learning_rate * (g + k.decay * w);
}

struct AdamElement {
  float w, m, v;
};
LEPTON_HD_ELEMENT inline AdamElement adam_element(const AdamStep& k, float g, float w, float m, float v) {
  const float gradient = g + k.decay * w;
  const float first = k.beta1 * m + k.one_minus_beta1 * gradient;
  const float second = k.beta2 * v + k.one_minus_beta2 * (gradient * gradient);
  const float deviation = std::sqrt(second) * k.inverse_sqrt_correction + k.epsilon;
  return {w * k.keep - k.learning_rate * (first / deviation), first, second};
}

/// A running statistic's new value.
LEPTON_HD_ELEMENT inline float statistic_element(float sum, float weight, float momentum, float rest,
                                                 float r) {
  return momentum * r + rest * (sum / weight);
}

}  // namespace lepton::ops
