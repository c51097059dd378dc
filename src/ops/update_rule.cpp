// SPDX-License-Identifier: Apache-2.0
// The choice of the loop for a segment. Called by train/phases and by the debug device.
#include "ops/update_rule.h"

#include <algorithm>

#include "ops/update_math.h"

namespace lepton::ops {

void update_segment(const UpdateRule& rule, const TensorRule& tensor, const SegmentState& s) {
  if (tensor.frozen) {
    std::copy(s.parameters.begin(), s.parameters.end(), s.parameters_new.begin());
    for (size_t m = 0; m < s.moments.size(); ++m)
      std::copy_n(s.moments[m].begin(), s.moments_new[m].size(), s.moments_new[m].begin());
    return;
  }
  if (tensor.statistic) {
    update_statistic(s.gradient, rule.samples, rule.statistics_momentum, s.parameters, s.parameters_new);
    for (const std::span<float> moment : s.moments_new) std::fill(moment.begin(), moment.end(), 0.f);
    return;
  }
  normalise_gradient(s.gradient, rule.weight, rule.clip_factor, tensor.decays ? tensor.l2 : 0.f, s.parameters,
                     rule.clip_value);
  switch (rule.kind) {
    case UpdateKind::sgd_plain:
      return sgd_plain(step_for(rule.sgd, tensor.decays), s.gradient, s.parameters, s.parameters_new);
    case UpdateKind::sgd:
      return sgd(step_for(rule.sgd, tensor.decays), s.gradient, s.parameters, s.moments[0], s.parameters_new,
                 s.moments_new[0]);
    case UpdateKind::adam:
      return adam(step_for(rule.adam, tensor.decays), s.gradient, s.parameters, s.moments[0], s.moments[1],
                  s.parameters_new, s.moments_new[0], s.moments_new[1]);
  }
}

}  // namespace lepton::ops
