// SPDX-License-Identifier: Apache-2.0
// The activations and their derivatives for one element, once for host and CUDA: only + - * / in the order
// written, so that contraction off (-ffp-contract=off, -fmad=false) gives the same bits. Both sides of a
// choice are computed where they are dear, so that loops vectorise; comparisons are written so that a NaN is
// kept, not turned into 0. Derivatives take y = f(x) where it determines them, Gelu's take x. The loops:
// ops/activation.cpp, kernels/activation.cu; epilogues in kernels/.
// Gelu: Hendrycks and Gimpel 2016; Elu: Clevert et al. 2015.
#pragma once

#include "base/philox.h"
#include "ops/activation.h"
#include "ops/math.h"

namespace lepton::ops {

LEPTON_HD_ELEMENT inline float relu_element(float x) {
  return x < 0.0f ? 0.0f : x;
}
LEPTON_HD_ELEMENT inline float relu_gradient_element(float y, float dy) {
  return y > 0.0f ? dy : 0.0f;
}

LEPTON_HD_ELEMENT inline float leaky_relu_element(float alpha, float x) {
  return x < 0.0f ? alpha * x : x;
}
LEPTON_HD_ELEMENT inline float leaky_relu_gradient_element(float alpha, float y, float dy) {
  return y > 0.0f ? dy : alpha * dy;
}

/// e^x - 1 for x <= 0, by a polynomial where the difference would cancel (|x| < 1/4 leaves 2 bits at most).
LEPTON_HD_ELEMENT inline float expm1_negative(float x) {
  float p = 1.0f / 720;
  p = p * x + 1.0f / 120;
  p = p * x + 1.0f / 24;
  p = p * x + 1.0f / 6;
  p = p * x + 0.5f;
  const float near = p * (x * x) + x;
  return x > -0.25f ? near : math::exp(x) - 1.0f;
}
LEPTON_HD_ELEMENT inline float elu_element(float alpha, float x) {
  const float below = alpha * expm1_negative(x);
  return x < 0.0f ? below : x;
}
/// elu'(x) = alpha e^x = y + alpha below 0
LEPTON_HD_ELEMENT inline float elu_gradient_element(float alpha, float y, float dy) {
  return (y > 0.0f ? 1.0f : y + alpha) * dy;
}

LEPTON_HD_ELEMENT inline float sigmoid_gradient_element(float y, float dy) {
  return y * (1.0f - y) * dy;
}
LEPTON_HD_ELEMENT inline float tanh_gradient_element(float y, float dy) {
  return (1.0f - y * y) * dy;
}

/// gelu(x) = x/2 (1 + erf(x / sqrt 2))
LEPTON_HD_ELEMENT inline float gelu_element(float x) {
  return 0.5f * x * (1.0f + math::erf(x * 0.70710678f));
}
/// gelu'(x) = (1 + erf(x / sqrt 2)) / 2 + x e^(-x^2 / 2) / sqrt(2 pi)
LEPTON_HD_ELEMENT inline float gelu_gradient_element(float x, float dy) {
  const float density = 0.39894228f * math::exp(-0.5f * x * x);
  return (0.5f * (1.0f + math::erf(x * 0.70710678f)) + x * density) * dy;
}

/// gelu_tanh(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
LEPTON_HD_ELEMENT inline float gelu_tanh_element(float x) {
  const float inner = 0.79788456f * (x + 0.044715f * (x * x * x));
  return 0.5f * x * (1.0f + math::tanh(inner));
}
LEPTON_HD_ELEMENT inline float gelu_tanh_gradient_element(float x, float dy) {
  const float square = x * x;
  const float t = math::tanh(0.79788456f * (x + 0.044715f * (square * x)));
  const float inner = 0.79788456f * (1.0f + 3 * 0.044715f * square);
  return (0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner) * dy;
}

/// f(x). Where the kind is a constant, no choice is left after inlining; for CUDA, as is the next.
LEPTON_HD_ELEMENT inline float activation_element(const Activation& activation, float x) {
  switch (activation.kind) {
    case ActivationKind::none:
      return x;
    case ActivationKind::relu:
      return relu_element(x);
    case ActivationKind::leaky_relu:
      return leaky_relu_element(activation.alpha, x);
    case ActivationKind::elu:
      return elu_element(activation.alpha, x);
    case ActivationKind::sigmoid:
      return math::sigmoid(x);
    case ActivationKind::tanh:
      return math::tanh(x);
    case ActivationKind::gelu:
      return gelu_element(x);
    case ActivationKind::gelu_tanh:
      return gelu_tanh_element(x);
  }
  return x;
}

/// f'(x) dy; `known` is x for Gelu, y for the others.
LEPTON_HD_ELEMENT inline float activation_gradient_element(const Activation& activation, float known,
                                                           float dy) {
  switch (activation.kind) {
    case ActivationKind::none:
      return dy;
    case ActivationKind::relu:
      return relu_gradient_element(known, dy);
    case ActivationKind::leaky_relu:
      return leaky_relu_gradient_element(activation.alpha, known, dy);
    case ActivationKind::elu:
      return elu_gradient_element(activation.alpha, known, dy);
    case ActivationKind::sigmoid:
      return sigmoid_gradient_element(known, dy);
    case ActivationKind::tanh:
      return tanh_gradient_element(known, dy);
    case ActivationKind::gelu:
      return gelu_gradient_element(known, dy);
    case ActivationKind::gelu_tanh:
      return gelu_tanh_gradient_element(known, dy);
  }
  return dy;
}

}  // namespace lepton::ops
