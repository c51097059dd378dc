// SPDX-License-Identifier: Apache-2.0
// A case of every loss, and of every option that changes one, with scores and targets: for tests of the
// losses of devices. Used by step_math_test.
#pragma once

#include <string>
#include <vector>

#include "ops/device_rig.h"
#include "ops/harness.h"
#include "ops/step_math.h"

namespace lepton::ops::testing {

struct LossCase {
  LossSpec spec;
  int64_t outputs;
  bool ids;
  LossTargets targets = {};
};

/// Scores and targets of six positions.
struct LossData {
  static constexpr int64_t samples = 6;
  explicit LossData(const LossCase& c, uint32_t seed = 1)
      : scores(random_floats(samples * c.outputs, seed, -3, 3)) {
    if (!c.ids) values = random_floats(samples * c.outputs, seed + 1, 0, 1);
    for (int32_t i = 0; c.ids && i < samples; ++i)
      classes.push_back((i + int32_t(seed)) % std::max<int32_t>(2, int32_t(c.outputs)));
    if (c.targets.may_ignore) classes[1] = classes[4] = classes[5] = ignored_class;
  }
  Floats scores, values;
  std::vector<int32_t> classes;
};

inline std::vector<LossCase> loss_cases() {
  const LossTargets ignoring{.may_ignore = true};
  const LossTargets weighing{.may_ignore = true, .class_weights = {0.5, 2, 1, 0, 1, 3, 0.1}};
  using enum LossKind;
  return {{{.kind = softmax_cross_entropy}, 7, true, ignoring},
          {{.kind = softmax_cross_entropy, .label_smoothing = 0.1, .top = 2}, 7, true, weighing},
          {{.kind = softmax_focal, .focal_gamma = 1.5}, 7, true, weighing},
          {{.kind = softmax_focal}, 2, true},
          {{.kind = multiclass_hinge}, 7, true, weighing},
          {{.kind = softmax_dice, .dice_smooth = 0.5}, 3, true, {.positions = 2, .may_ignore = true}},
          {{.kind = softmax_dice}, 2, true, {.positions = 3}},
          {{.kind = binary_focal, .focal_gamma = 0.5, .focal_alpha = 0.6}, 1, true},
          {{.kind = binary_focal}, 3, false},
          {{.kind = binary_hinge}, 3, false},
          {{.kind = binary_dice, .dice_smooth = 0.5}, 3, false},
          {{.kind = poisson}, 3, false},
          {{.kind = softmax_cross_entropy}, 7, true},
          {{.kind = softmax_cross_entropy, .label_smoothing = 0.1}, 7, true},
          {{.kind = softmax_cross_entropy}, 7, false},
          {{.kind = binary_cross_entropy}, 1, true},
          {{.kind = binary_cross_entropy}, 1, false},
          {{.kind = binary_cross_entropy}, 3, false},
          {{.kind = mse}, 3, false},
          {{.kind = mae}, 3, false},
          {{.kind = huber, .huber_delta = 0.7}, 3, false}};
}

/// Scores and targets in device memory; no gradient, no counts.
inline LossRun upload(Rig& rig, const LossCase& c, const LossData& data, const UnitTag* tag,
                      UnitReport* reports) {
  LossRun run{.spec = c.spec, .samples = LossData::samples, .outputs = c.outputs};
  run.term_positions = c.targets.positions;
  if (!c.targets.class_weights.empty()) run.class_weights = rig.up(c.targets.class_weights);
  run.scores = rig.up(data.scores);
  if (c.ids)
    run.classes = rig.up(data.classes);
  else
    run.values = rig.up(data.values);
  run.per_sample = rig.room<UnitLoss>(LossData::samples);
  run.tag = tag;
  run.reports = reports;
  return run;
}

/// But for the order of a sum.
inline void expect_same_loss(const UnitLoss& got, const UnitLoss& want, const std::string& what) {
  const auto near = [&](double a, double b) {
    EXPECT_NEAR(a, b, 1e-12 * std::max(1.0, std::abs(b))) << what;
  };
  near(got.loss, want.loss);
  near(got.weight, want.weight);
  near(got.absolute_error, want.absolute_error);
  near(got.squared_error, want.squared_error);
  near(got.target, want.target);
  near(got.target_squared, want.target_squared);
  EXPECT_EQ(got.counted, want.counted) << what;
  EXPECT_EQ(got.correct, want.correct) << what;
  EXPECT_EQ(got.correct_top, want.correct_top) << what;
}

}  // namespace lepton::ops::testing
