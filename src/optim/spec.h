// SPDX-License-Identifier: Apache-2.0
// OptimizerSpec: the deck's [optimizer] and [schedule] tables, parsed. Filled by train/deck.
#pragma once

#include <cstdint>

namespace lepton::optim {

enum class Rule { sgd, adam, adamw };
enum class ScheduleKind { constant, step, cosine, polynomial };

/// Learning rate as a function of the step: linear warm-up over `warmup_steps`, then the schedule over the
/// rest.
struct ScheduleSpec {
  ScheduleKind kind = ScheduleKind::constant;
  int64_t steps = 0;  ///< length of cosine and polynomial; 0: resolved at the first start from epochs
  int64_t warmup_steps = 0;
  int64_t step_every = 0;   ///< step: every so many steps ...
  double factor = 0.1;      ///< ... times this
  double power = 1;         ///< polynomial
  double final_factor = 0;  ///< cosine and polynomial end at learning_rate * final_factor
};

struct OptimizerSpec {
  Rule rule = Rule::adam;
  double learning_rate = 1e-3;
  double momentum = 0;                                ///< sgd
  bool nesterov = false;                              ///< sgd
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  ///< adam, adamw
  double weight_decay = 0;                            ///< sgd, adam: added to the gradient; adamw: decoupled
  double clip_norm = 0;   ///< 0: none; of the mean gradient over all parameters, exact
  double clip_value = 0;  ///< 0: none
  ScheduleSpec schedule;
};

}  // namespace lepton::optim
