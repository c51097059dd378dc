// SPDX-License-Identifier: Apache-2.0
// Coefficients of the update rules. Clipping by norm is Pascanu et al. 2013. Called by
// train/conductor.
#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "optim/schedule.h"

namespace lepton::optim {

namespace {

/// base^n by products alone: the same bits on every machine, unlike libm's pow.
double integer_power(double base, int64_t n) {
  double result = 1;
  for (double factor = base; n > 0; n >>= 1, factor *= factor)
    if (n & 1) result *= factor;
  return result;
}

}  // namespace

Optimizer::Optimizer(OptimizerSpec spec, double statistics_momentum)
    : spec_(spec), statistics_momentum_(statistics_momentum) {}

std::vector<std::string> Optimizer::moments() const {
  if (spec_.rule != Rule::sgd) return {"adam.m", "adam.v"};
  if (spec_.momentum > 0) return {"sgd.momentum"};
  return {};
}

ops::UpdateRule Optimizer::plan(int64_t step, double weight, double norm, int64_t samples) const {
  const double rate = learning_rate(spec_, step);
  ops::UpdateRule plan{};
  plan.kind = spec_.rule != Rule::sgd ? ops::UpdateKind::adam
              : spec_.momentum > 0    ? ops::UpdateKind::sgd
                                      : ops::UpdateKind::sgd_plain;
  plan.weight = static_cast<float>(weight);
  plan.samples = static_cast<float>(samples);
  plan.clip_factor = 1;
  if (clips_by_norm() && norm > spec_.clip_norm)
    plan.clip_factor = static_cast<float>(spec_.clip_norm / norm);
  plan.clip_value =
      spec_.clip_value > 0 ? static_cast<float>(spec_.clip_value) : std::numeric_limits<float>::infinity();
  plan.statistics_momentum = static_cast<float>(statistics_momentum_);
  const bool coupled = spec_.rule != Rule::adamw;
  plan.sgd = {static_cast<float>(rate), static_cast<float>(spec_.momentum),
              static_cast<float>(spec_.weight_decay), spec_.nesterov};
  const double correction1 = 1 - integer_power(spec_.beta1, step);
  const double correction2 = 1 - integer_power(spec_.beta2, step);
  plan.adam = {static_cast<float>(spec_.beta1),
               static_cast<float>(1 - spec_.beta1),
               static_cast<float>(spec_.beta2),
               static_cast<float>(1 - spec_.beta2),
               static_cast<float>(spec_.epsilon),
               static_cast<float>(rate / correction1),
               static_cast<float>(1 / std::sqrt(correction2)),
               static_cast<float>(coupled ? spec_.weight_decay : 0),
               static_cast<float>(coupled ? 1 : 1 - rate * spec_.weight_decay)};
  return plan;
}

ops::TensorRule tensor_rule(const ArenaTensor& tensor) {
  return {tensor.role == TensorRole::statistic, tensor.decays, static_cast<float>(tensor.l2), tensor.frozen};
}

}  // namespace lepton::optim
