// SPDX-License-Identifier: Apache-2.0
// Optimizer: what the update of a step is (ops/update does it, segment by segment, so that any thread or
// device of any node may update any part to the same bits). Holds no state of its own: moments live in
// node-shared or device memory, two slots each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/update_rule.h"
#include "optim/spec.h"
#include "tensor/arena.h"

namespace lepton::optim {

class Optimizer {
 public:
  /// `momentum`: of the running statistics (batch norm).
  Optimizer(OptimizerSpec spec, double statistics_momentum);

  /// Names of the moment arrays: none for plain sgd, {"sgd.momentum"}, {"adam.m", "adam.v"}.
  std::vector<std::string> moments() const;
  bool clips_by_norm() const { return spec_.clip_norm > 0; }
  const OptimizerSpec& spec() const { return spec_; }

  /// step: the number of this update, from 1. norm: of the mean gradient; ignored unless clips_by_norm().
  /// `weight`: the sum that divides the gradient; `samples`: of the batch, for running statistics.
  ops::UpdateRule plan(int64_t step, double weight, double norm, int64_t samples) const;

 private:
  OptimizerSpec spec_;
  double statistics_momentum_;
};

/// What of an arena tensor matters to its update.
ops::TensorRule tensor_rule(const ArenaTensor& tensor);

}  // namespace lepton::optim
