// SPDX-License-Identifier: Apache-2.0
// Coefficients of the update rules and their dispatch. Clipping by norm is Pascanu et al. 2013. Called by
// train/phases.
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

UpdatePlan Optimizer::plan(int64_t step, double weight, double norm) const {
  const double rate = learning_rate(spec_, step);
  UpdatePlan plan{};
  plan.weight = static_cast<float>(weight);
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

void Optimizer::update(const UpdatePlan& plan, const ArenaTensor& tensor, const SegmentState& s) const {
  if (tensor.role == TensorRole::statistic) {
    ops::update_statistic(s.gradient, plan.weight, plan.statistics_momentum, s.parameters, s.parameters_new);
    for (std::span<float> moment : s.moments_new) std::fill(moment.begin(), moment.end(), 0.f);
    return;
  }
  const float l2 = tensor.decays ? static_cast<float>(tensor.l2) : 0.f;
  ops::normalise_gradient(s.gradient, plan.weight, plan.clip_factor, l2, s.parameters, plan.clip_value);
  if (spec_.rule == Rule::sgd) {
    ops::SgdStep step = plan.sgd;
    if (!tensor.decays) step.decay = 0;
    if (spec_.momentum > 0)
      ops::sgd(step, s.gradient, s.parameters, s.moments[0], s.parameters_new, s.moments_new[0]);
    else
      ops::sgd_plain(step, s.gradient, s.parameters, s.parameters_new);
    return;
  }
  ops::AdamStep step = plan.adam;
  if (!tensor.decays) {
    step.decay = 0;
    step.keep = 1;
  }
  ops::adam(step, s.gradient, s.parameters, s.moments[0], s.moments[1], s.parameters_new, s.moments_new[0],
            s.moments_new[1]);
}

}  // namespace lepton::optim
