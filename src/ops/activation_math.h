// SPDX-License-Identifier: Apache-2.0
// The activations and their derivatives for one element, once for host and CUDA: only + - * / in the order
// written, so that contraction off (-ffp-contract=off, -fmad=false) gives the same bits. Both sides of a
// choice are computed where they are dear, so that loops vectorise; comparisons are written so that a NaN is
// kept, not turned into 0. Derivatives take y = f(x) where it determines them, else x (takes_input). The
// loops: ops/activation.cpp, kernels/activation.cu; epilogues in kernels/.
// Gelu: Hendrycks and Gimpel 2016; Elu: Clevert et al. 2015; Selu: Klambauer et al. 2017; HardSigmoid:
// Courbariaux et al. 2015; Softplus: Dugas et al. 2000; Swish: Ramachandran et al. 2017; Mish: Misra 2019.
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

/// What an element gives to the gradient of the slope below 0 where that is a parameter (PRelu).
LEPTON_HD_ELEMENT inline float prelu_slope_gradient_element(float x, float dy) {
  return x < 0.0f ? x * dy : 0.0f;
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

/// beta x, or beta alpha (e^x - 1) below 0
LEPTON_HD_ELEMENT inline float selu_element(float alpha, float beta, float x) {
  const float below = beta * (alpha * expm1_negative(x));
  return x < 0.0f ? below : beta * x;
}
LEPTON_HD_ELEMENT inline float selu_gradient_element(float alpha, float beta, float y, float dy) {
  return (y > 0.0f ? beta : y + beta * alpha) * dy;
}

/// alpha x + beta, cut at 0 and 1
LEPTON_HD_ELEMENT inline float hard_sigmoid_element(float alpha, float beta, float x) {
  const float line = alpha * x + beta, low = line < 0.0f ? 0.0f : line;
  return low > 1.0f ? 1.0f : low;
}
LEPTON_HD_ELEMENT inline float hard_sigmoid_gradient_element(float alpha, float y, float dy) {
  return (y > 0.0f) & (y < 1.0f) ? alpha * dy : 0.0f;
}

/// ln(1 + e^x)
LEPTON_HD_ELEMENT inline float softplus_element(float x) {
  return (x > 0.0f ? x : 0.0f) + math::log1p_unit(math::exp(-math::magnitude(x)));
}
/// softplus'(x) = sigmoid(x) = 1 - e^-y
LEPTON_HD_ELEMENT inline float softplus_gradient_element(float y, float dy) {
  return -expm1_negative(-y) * dy;
}

/// x sigmoid(alpha x)
LEPTON_HD_ELEMENT inline float swish_element(float alpha, float x) {
  return x * math::sigmoid(alpha * x);
}
/// s + alpha x s (1 - s); sigmoid(-alpha x) is 1 - s without cancellation
LEPTON_HD_ELEMENT inline float swish_gradient_element(float alpha, float x, float dy) {
  const float scaled = alpha * x, s = math::sigmoid(scaled);
  return (s + scaled * (s * math::sigmoid(-scaled))) * dy;
}

/// x tanh(ln(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); beyond 20 the quotient is 1
LEPTON_HD_ELEMENT inline float mish_element(float x) {
  const float e = math::exp(x > 20.0f ? 20.0f : x), n = e * (e + 2.0f);
  return x * (n / (n + 2.0f));
}
LEPTON_HD_ELEMENT inline float mish_gradient_element(float x, float dy) {
  const float bounded = x > 20.0f ? 20.0f : x, e = math::exp(bounded), n = e * (e + 2.0f), d = n + 2.0f;
  return (n / d + bounded * (4.0f * e * (1.0f + e) / (d * d))) * dy;
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
    case ActivationKind::selu:
      return selu_element(activation.alpha, activation.beta, x);
    case ActivationKind::hard_sigmoid:
      return hard_sigmoid_element(activation.alpha, activation.beta, x);
    case ActivationKind::softplus:
      return softplus_element(x);
    case ActivationKind::swish:
      return swish_element(activation.alpha, x);
    case ActivationKind::mish:
      return mish_element(x);
  }
  return x;
}

/// f'(x) dy; `known` is x where takes_input(), else y.
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
    case ActivationKind::selu:
      return selu_gradient_element(activation.alpha, activation.beta, known, dy);
    case ActivationKind::hard_sigmoid:
      return hard_sigmoid_gradient_element(activation.alpha, known, dy);
    case ActivationKind::softplus:
      return softplus_gradient_element(known, dy);
    case ActivationKind::swish:
      return swish_gradient_element(activation.alpha, known, dy);
    case ActivationKind::mish:
      return mish_gradient_element(known, dy);
  }
  return dy;
}

/// use.operator()<kind>() for a kind that is known at run time only, so that the loops inside hold no choice;
/// for `none` a value of its result's type.
template <class Use>
auto for_kind(ActivationKind kind, const Use& use) {
  switch (kind) {
    case ActivationKind::relu:
      return use.template operator()<ActivationKind::relu>();
    case ActivationKind::leaky_relu:
      return use.template operator()<ActivationKind::leaky_relu>();
    case ActivationKind::elu:
      return use.template operator()<ActivationKind::elu>();
    case ActivationKind::selu:
      return use.template operator()<ActivationKind::selu>();
    case ActivationKind::gelu:
      return use.template operator()<ActivationKind::gelu>();
    case ActivationKind::gelu_tanh:
      return use.template operator()<ActivationKind::gelu_tanh>();
    case ActivationKind::sigmoid:
      return use.template operator()<ActivationKind::sigmoid>();
    case ActivationKind::hard_sigmoid:
      return use.template operator()<ActivationKind::hard_sigmoid>();
    case ActivationKind::tanh:
      return use.template operator()<ActivationKind::tanh>();
    case ActivationKind::softplus:
      return use.template operator()<ActivationKind::softplus>();
    case ActivationKind::swish:
      return use.template operator()<ActivationKind::swish>();
    case ActivationKind::mish:
      return use.template operator()<ActivationKind::mish>();
    case ActivationKind::none:
      break;
  }
  return decltype(use.template operator()<ActivationKind::relu>()){};
}

}  // namespace lepton::ops
