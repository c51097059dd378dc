// SPDX-License-Identifier: Apache-2.0
// Update rules, elementwise: only + - * / sqrt in float32, contraction off, coefficients computed once in
// double by optim and rounded to float32 here, so that any device may update any slice to the same bits. All
// spans have one length; reading and writing spans never overlap (two slots of run state).
#pragma once

#include <span>

namespace lepton::ops {

/// SGD with momentum, Sutskever et al. 2013 in PyTorch's form: v' = mu v + g; w' = w - lr (nesterov ? g + mu
/// v' : v').
struct SgdStep {
  float learning_rate, momentum, decay;  ///< decay: g += decay * w first (L2 / weight decay of sgd)
  bool nesterov;
};
void sgd(const SgdStep& step, std::span<const float> g, std::span<const float> w, std::span<const float> v,
         std::span<float> w_new, std::span<float> v_new);
/// Without momentum: no moments at all.
void sgd_plain(const SgdStep& step, std::span<const float> g, std::span<const float> w,
               std::span<float> w_new);

/// Adam, Kingma and Ba 2015 (algorithm 1), and AdamW, Loshchilov and Hutter 2019 (algorithm 2).
/// decay: coupled (adam: g += decay * w); decoupled (adamw: w' = w (1 - lr decay) - ...).
struct AdamStep {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, epsilon;
  float learning_rate;            ///< lr / (1 - beta1^t)
  float inverse_sqrt_correction;  ///< 1 / sqrt(1 - beta2^t)
  float decay, keep;              ///< coupled decay; 1 - lr * decoupled decay
};
void adam(const AdamStep& step, std::span<const float> g, std::span<const float> w, std::span<const float> m,
          std::span<const float> v, std::span<float> w_new, std::span<float> m_new, std::span<float> v_new);

/// g[i] = clip(g[i] / weight * factor + l2 * w[i], -limit, limit): the one division by the sum of weights,
/// then clipping by norm (factor), the layer's L2, clipping by value (limit = Inf: none).
void normalise_gradient(std::span<float> g, float weight, float factor, float l2, std::span<const float> w,
                        float limit);

/// Running statistics: r' = momentum * r + (1 - momentum) * (sum / weight).
void update_statistic(std::span<const float> sum, float weight, float momentum, std::span<const float> r,
                      std::span<float> r_new);

}  // namespace lepton::ops
