// SPDX-License-Identifier: Apache-2.0
// Optimizer: from a step's exact sums to new parameters and moments, segment by segment, so that any thread
// of any node may update any part to the same bits. Holds no state of its own: moments live in node-shared
// memory, two slots each.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ops/update.h"
#include "optim/spec.h"
#include "tensor/arena.h"

namespace lepton::optim {

/// Everything that one update needs, computed once per step in double by every node alike. Plain data: lies
/// in node-shared memory.
struct UpdatePlan {
  ops::SgdStep sgd;
  ops::AdamStep adam;
  float weight = 1;       ///< sum of weights of the batch: divides the gradient sums
  float clip_factor = 1;  ///< from the global norm
  float clip_value = 0;   ///< Inf: none
  float statistics_momentum = 0.9f;
};

/// One segment's memory; old and new lie in different slots. Moments beyond moments() are empty.
struct SegmentState {
  std::span<float> gradient;  ///< in: rounded gradient sums; used as scratch
  std::span<const float> parameters;
  std::span<float> parameters_new;
  std::array<std::span<const float>, 2> moments;
  std::array<std::span<float>, 2> moments_new;
};

class Optimizer {
 public:
  /// `momentum`: of the running statistics (batch norm).
  Optimizer(OptimizerSpec spec, double statistics_momentum);

  /// Names of the moment arrays: none for plain sgd, {"sgd.momentum"}, {"adam.m", "adam.v"}.
  std::vector<std::string> moments() const;
  bool clips_by_norm() const { return spec_.clip_norm > 0; }
  const OptimizerSpec& spec() const { return spec_; }

  /// step: the number of this update, from 1. norm: of the mean gradient; ignored unless clips_by_norm().
  UpdatePlan plan(int64_t step, double weight, double norm) const;
  /// = on parameters_new and moments_new.
  void update(const UpdatePlan& plan, const ArenaTensor& tensor, const SegmentState& segment) const;

 private:
  OptimizerSpec spec_;
  double statistics_momentum_;
};

}  // namespace lepton::optim
