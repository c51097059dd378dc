// SPDX-License-Identifier: Apache-2.0
// What an update is, as plain data: the rule of a step, what of a tensor matters to it, and a segment's
// memory. The rule comes from optim/optimizer, the loops it chooses from are ops/update's; devices have their
// own (kernels/update.cu).
#pragma once

#include <array>
#include <span>

#include "ops/update.h"

namespace lepton::ops {

enum class UpdateKind { sgd_plain, sgd, adam };

/// Everything that one update needs, computed once per step in double by every node alike (optim/optimizer).
/// Plain data.
struct UpdateRule {
  UpdateKind kind = UpdateKind::sgd_plain;
  SgdStep sgd;
  AdamStep adam;
  float weight = 1;       ///< sum of weights of the batch: divides the gradient sums
  float samples = 1;      ///< of the batch: divides the sums of running statistics
  float clip_factor = 1;  ///< from the global norm
  float clip_value = 0;   ///< Inf: none
  float statistics_momentum = 0.9f;
};

/// What of a tensor matters to its update.
struct TensorRule {
  bool statistic = false;  ///< else a parameter
  bool decays = false;     ///< weight decay and L2 apply
  float l2 = 0;
  bool frozen = false;  ///< parameter or statistic and moments stay what they are
};

/// One segment's memory; old and new lie in different slots. Moments beyond the rule's are empty.
struct SegmentState {
  std::span<float> gradient;  ///< in: rounded gradient sums; used as scratch
  std::span<const float> parameters;
  std::span<float> parameters_new;
  std::array<std::span<const float>, 2> moments;
  std::array<std::span<float>, 2> moments_new;
};
/// = on parameters_new and moments_new.
void update_segment(const UpdateRule& rule, const TensorRule& tensor, const SegmentState& segment);

}  // namespace lepton::ops
