// SPDX-License-Identifier: Apache-2.0
// Elementwise activations: one enumeration for the operators of that name and for epilogues fused behind
// Gemm, Conv, BatchNormalization and Add. Derivatives come from the output wherever that determines them, so
// that a fused activation needs no memory of its input; Gelu, Swish and Mish need the input, and Gemm, which
// takes Gelu too, keeps that. Invariants: + - * / only (ops/math.h), hence the same bits on every machine;
// NaN passes through.
#pragma once

#include <cstdint>
#include <string>

#include "ops/op.h"

namespace lepton::ops {

enum class ActivationKind {
  none,
  relu,
  leaky_relu,
  elu,
  selu,
  gelu,
  gelu_tanh,
  sigmoid,
  hard_sigmoid,
  tanh,
  softplus,
  swish,
  mish
};

struct Activation {
  ActivationKind kind = ActivationKind::none;
  float alpha =
      0;  ///< leaky_relu (ONNX default 0.01), elu (1), selu (1.673...), hard_sigmoid (0.2), swish (1)
  float beta = 0;  ///< hard_sigmoid (0.5); of selu what ONNX calls gamma (1.050...)
};

/// From the ONNX operator name and attributes; "" is none. Throws Error(deck) on a bad attribute.
Activation parse_activation(const std::string& type, const Attributes& attributes);
/// True where the derivative is a function of the output (alpha must not be negative).
bool gradient_from_output(const Activation& activation);
/// Does the derivative take the input, whatever alpha is? Those of functions that are not monotone.
inline bool takes_input(const Activation& activation) {
  return activation.kind == ActivationKind::gelu || activation.kind == ActivationKind::gelu_tanh ||
         activation.kind == ActivationKind::swish || activation.kind == ActivationKind::mish;
}
/// Can it be a fused epilogue of an op that keeps no input of it? `type` "" can.
bool is_epilogue(const std::string& type);

/// y = f(x); y may be x.
void activate(const Activation& activation, int64_t count, const float* x, float* y);
/// dx = f'(x) dy; x is read where takes_input() says so and may be null else, y by the others; dx may be dy.
void activation_gradient(const Activation& activation, int64_t count, const float* x, const float* y,
                         const float* dy, float* dx);

}  // namespace lepton::ops
