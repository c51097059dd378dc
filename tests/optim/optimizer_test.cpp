// SPDX-License-Identifier: Apache-2.0
// The optimizer against formulas in double, over several steps with moments; each option has a test that
// fails when it is ignored. Bits of the update rules themselves are tested in tests/ops/update_test.cpp.
#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "optim/schedule.h"

namespace lepton::optim {
namespace {

using Doubles = std::vector<double>;

constexpr int count = 37;
constexpr int64_t samples = 24;
constexpr double weight = 24;  // sum of weights of the batch

/// Reproducible values in [-1, 1).
float value(int stream, int i) {
  return static_cast<float>(std::sin(12.9898 * (i + 1) + 78.233 * stream));
}

ArenaTensor tensor_of(bool decays, double l2 = 0, TensorRole role = TensorRole::parameter) {
  return {"w", {count}, role, decays, l2, 0, count};
}

/// A segment's memory, one slot read and one written, as phases.cpp holds it.
struct Memory {
  std::vector<float> parameters, parameters_new;
  std::vector<float> moments[2], moments_new[2];

  explicit Memory(size_t moment_count) : parameters(count), parameters_new(count, NAN) {
    for (int i = 0; i < count; ++i) parameters[i] = value(1, i);
    for (size_t m = 0; m < moment_count; ++m) {
      moments[m].assign(count, 0);
      moments_new[m].assign(count, NAN);
    }
  }
  void update(const ops::UpdateRule& plan, const ArenaTensor& tensor, std::vector<float> gradient) {
    const ops::SegmentState state{
        gradient, parameters, parameters_new, {moments[0], moments[1]}, {moments_new[0], moments_new[1]}};
    ops::update_segment(plan, tensor_rule(tensor), state);
    parameters.swap(parameters_new);
    for (int m = 0; m < 2; ++m) moments[m].swap(moments_new[m]);
  }
};

std::vector<float> gradient_sums(int step) {
  std::vector<float> sums(count);
  for (int i = 0; i < count; ++i) sums[i] = static_cast<float>(weight) * value(10 + step, i);
  return sums;
}

double norm_of(int step) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += value(10 + step, i) * static_cast<double>(value(10 + step, i));
  return std::sqrt(sum);
}

/// The same steps in double, written from the papers.
class Reference {
 public:
  Reference(const OptimizerSpec& spec, const ArenaTensor& tensor) : spec_(spec), tensor_(tensor) {
    for (int i = 0; i < count; ++i) w_.push_back(value(1, i));
    m_.assign(count, 0);
    v_.assign(count, 0);
  }
  void step(int t) {
    const double norm = norm_of(t);
    const double factor = spec_.clip_norm > 0 && norm > spec_.clip_norm ? spec_.clip_norm / norm : 1;
    for (int i = 0; i < count; ++i) {
      double g = value(10 + t, i) * factor + (tensor_.decays ? tensor_.l2 * w_[i] : 0);
      if (spec_.clip_value > 0) g = std::max(-spec_.clip_value, std::min(spec_.clip_value, g));
      element(t, i, g);
    }
  }
  const Doubles& parameters() const { return w_; }

 private:
  void element(int t, int i, double g) {
    const double rate = learning_rate(spec_, t), decay = tensor_.decays ? spec_.weight_decay : 0;
    if (spec_.rule == Rule::sgd) {
      g += decay * w_[i];
      m_[i] = spec_.momentum * m_[i] + g;
      w_[i] -= rate * (spec_.nesterov ? g + spec_.momentum * m_[i] : m_[i]);
      return;
    }
    if (spec_.rule == Rule::adam) g += decay * w_[i];
    m_[i] = spec_.beta1 * m_[i] + (1 - spec_.beta1) * g;
    v_[i] = spec_.beta2 * v_[i] + (1 - spec_.beta2) * g * g;
    const double m_hat = m_[i] / (1 - std::pow(spec_.beta1, t));
    const double v_hat = v_[i] / (1 - std::pow(spec_.beta2, t));
    if (spec_.rule == Rule::adamw) w_[i] -= rate * decay * w_[i];
    w_[i] -= rate * m_hat / (std::sqrt(v_hat) + spec_.epsilon);
  }

  OptimizerSpec spec_;
  ArenaTensor tensor_;
  Doubles w_, m_, v_;
};

constexpr int steps = 8;

std::vector<float> trained(const OptimizerSpec& spec, const ArenaTensor& tensor) {
  const Optimizer optimizer(spec, 0.9);
  Memory memory(optimizer.moments().size());
  for (int t = 1; t <= steps; ++t)
    memory.update(optimizer.plan(t, weight, norm_of(t), samples), tensor, gradient_sums(t));
  return memory.parameters;
}

void expect_as_reference(const OptimizerSpec& spec, const ArenaTensor& tensor, const char* what) {
  Reference reference(spec, tensor);
  for (int t = 1; t <= steps; ++t) reference.step(t);
  const std::vector<float> parameters = trained(spec, tensor);
  for (int i = 0; i < count; ++i)
    EXPECT_NEAR(parameters[i], reference.parameters()[i], 3e-6) << what << ", element " << i;
}

/// Both as the reference, and different from the same without the option.
void expect_option_counts(const OptimizerSpec& with, const OptimizerSpec& without, const ArenaTensor& tensor,
                          const char* what) {
  expect_as_reference(with, tensor, what);
  const std::vector<float> a = trained(with, tensor), b = trained(without, tensor);
  double difference = 0;
  for (int i = 0; i < count; ++i) difference = std::max(difference, std::fabs(double{a[i]} - b[i]));
  EXPECT_GT(difference, 1e-4) << what << " is ignored";
}

OptimizerSpec spec_of(Rule rule, double rate = 0.05) {
  OptimizerSpec spec;
  spec.rule = rule;
  spec.learning_rate = rate;
  return spec;
}

TEST(Optimizer, EachRuleAsInItsPaper) {
  for (const Rule rule : {Rule::sgd, Rule::adam, Rule::adamw})
    expect_as_reference(spec_of(rule), tensor_of(true), "plain");
}

TEST(Optimizer, Momentum) {
  OptimizerSpec with = spec_of(Rule::sgd);
  with.momentum = 0.9;
  expect_option_counts(with, spec_of(Rule::sgd), tensor_of(true), "momentum");
}

TEST(Optimizer, Nesterov) {
  OptimizerSpec without = spec_of(Rule::sgd);
  without.momentum = 0.9;
  OptimizerSpec with = without;
  with.nesterov = true;
  expect_option_counts(with, without, tensor_of(true), "nesterov");
}

TEST(Optimizer, BetasAndEpsilon) {
  for (const Rule rule : {Rule::adam, Rule::adamw}) {
    const OptimizerSpec without = spec_of(rule);
    OptimizerSpec with = without;
    with.beta1 = 0.5;
    expect_option_counts(with, without, tensor_of(true), "beta1");
    with = without;
    with.beta2 = 0.9;
    expect_option_counts(with, without, tensor_of(true), "beta2");
    with = without;
    with.epsilon = 0.1;
    expect_option_counts(with, without, tensor_of(true), "epsilon");
  }
}

TEST(Optimizer, WeightDecayCoupledAndDecoupled) {
  for (const Rule rule : {Rule::sgd, Rule::adam, Rule::adamw}) {
    OptimizerSpec with = spec_of(rule);
    with.weight_decay = 0.1;
    expect_option_counts(with, spec_of(rule), tensor_of(true), "weight_decay");
  }
  OptimizerSpec coupled = spec_of(Rule::adam), decoupled = spec_of(Rule::adamw);
  coupled.weight_decay = decoupled.weight_decay = 0.1;
  EXPECT_NE(trained(coupled, tensor_of(true)), trained(decoupled, tensor_of(true)));
}

TEST(Optimizer, WeightDecayWithMomentum) {
  OptimizerSpec without = spec_of(Rule::sgd);
  without.momentum = 0.9;
  OptimizerSpec with = without;
  with.weight_decay = 0.1;
  expect_option_counts(with, without, tensor_of(true), "weight_decay with momentum");
}

TEST(Optimizer, WeightDecayAndL2LeaveOtherTensorsAlone) {
  for (const Rule rule : {Rule::sgd, Rule::adam, Rule::adamw})
    for (const double momentum : {0.0, 0.9}) {
      OptimizerSpec with = spec_of(rule);
      if (rule == Rule::sgd) with.momentum = momentum;
      OptimizerSpec without = with;
      with.weight_decay = 0.1;
      EXPECT_EQ(trained(with, tensor_of(false, 0.2)), trained(without, tensor_of(false)));
    }
}

TEST(Optimizer, L2OfTheTensor) {
  for (const Rule rule : {Rule::sgd, Rule::adam, Rule::adamw}) {
    expect_as_reference(spec_of(rule), tensor_of(true, 0.2), "l2");
    EXPECT_NE(trained(spec_of(rule), tensor_of(true, 0.2)), trained(spec_of(rule), tensor_of(true)));
  }
}

TEST(Optimizer, ClipByNorm) {
  OptimizerSpec with = spec_of(Rule::sgd);
  with.clip_norm = 0.5;  // the norms are about 4
  expect_option_counts(with, spec_of(Rule::sgd), tensor_of(true), "clip_norm");
  EXPECT_TRUE(Optimizer(with, 0.9).clips_by_norm());
  EXPECT_FALSE(Optimizer(spec_of(Rule::sgd), 0.9).clips_by_norm());
}

TEST(Optimizer, ClipByNormLeavesSmallGradientsAlone) {
  OptimizerSpec with = spec_of(Rule::adam);
  with.clip_norm = 1000;
  EXPECT_EQ(trained(with, tensor_of(true)), trained(spec_of(Rule::adam), tensor_of(true)));
  EXPECT_EQ(Optimizer(with, 0.9).plan(1, weight, 0, samples).clip_factor, 1.0f);
  EXPECT_EQ(Optimizer(with, 0.9).plan(1, weight, 1000, samples).clip_factor, 1.0f);
}

TEST(Optimizer, ClipByValue) {
  OptimizerSpec with = spec_of(Rule::sgd);
  with.clip_value = 0.25;
  expect_option_counts(with, spec_of(Rule::sgd), tensor_of(true, 0.2), "clip_value");
}

TEST(Optimizer, BothClips) {
  OptimizerSpec with = spec_of(Rule::adamw);
  with.clip_norm = 2;
  with.clip_value = 0.1;
  expect_as_reference(with, tensor_of(true, 0.2), "both clips");
}

TEST(Optimizer, TheWeightDividesOnce) {
  const Optimizer optimizer(spec_of(Rule::sgd, 1), 0.9);
  Memory memory(0);
  const float before = memory.parameters[0];
  memory.update(optimizer.plan(1, 8, 0, 8), tensor_of(false), std::vector<float>(count, 4.0f));
  EXPECT_EQ(memory.parameters[0], before - 0.5f);
}

TEST(Optimizer, TheScheduleCounts) {
  for (const Rule rule : {Rule::sgd, Rule::adam, Rule::adamw}) {
    OptimizerSpec with = spec_of(rule);
    with.weight_decay = 0.1;
    const OptimizerSpec without = with;
    with.schedule = {.kind = ScheduleKind::cosine, .steps = steps, .warmup_steps = 2};
    expect_option_counts(with, without, tensor_of(true), "schedule");
  }
}

TEST(Optimizer, StatisticsAreAveragedWhateverTheRule) {
  for (const Rule rule : {Rule::sgd, Rule::adam, Rule::adamw}) {
    OptimizerSpec spec = spec_of(rule);
    spec.momentum = rule == Rule::sgd ? 0.9 : 0;
    spec.weight_decay = 0.1;
    spec.clip_value = 1e-3;
    spec.clip_norm = 1e-3;
    for (const double momentum : {0.9, 0.5}) {
      const Optimizer optimizer(spec, momentum);
      Memory memory(optimizer.moments().size());
      const ArenaTensor tensor = tensor_of(false, 0, TensorRole::statistic);
      memory.update(optimizer.plan(1, 5 * weight, norm_of(1), samples), tensor, gradient_sums(1));
      for (int i = 0; i < count; ++i)
        EXPECT_NEAR(memory.parameters[i], momentum * value(1, i) + (1 - momentum) * value(11, i), 1e-6);
      for (size_t m = 0; m < optimizer.moments().size(); ++m)
        EXPECT_EQ(memory.moments[m], std::vector<float>(count, 0.0f));
    }
  }
}

TEST(Optimizer, NamesOfMoments) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(Optimizer(spec_of(Rule::sgd), 0.9).moments(), Names());
  OptimizerSpec momentum = spec_of(Rule::sgd);
  momentum.momentum = 0.9;
  EXPECT_EQ(Optimizer(momentum, 0.9).moments(), Names{"sgd.momentum"});
  EXPECT_EQ(Optimizer(spec_of(Rule::adam), 0.9).moments(), (Names{"adam.m", "adam.v"}));
  EXPECT_EQ(Optimizer(spec_of(Rule::adamw), 0.9).moments(), (Names{"adam.m", "adam.v"}));
}

TEST(Optimizer, BiasCorrectionLateInARun) {
  const Optimizer optimizer(spec_of(Rule::adam), 0.9);
  const ops::UpdateRule plan = optimizer.plan(2'000'000, weight, 0, samples);
  EXPECT_EQ(plan.adam.learning_rate, 0.05f);  // both corrections have become 1
  EXPECT_EQ(plan.adam.inverse_sqrt_correction, 1.0f);
  const ops::UpdateRule early = optimizer.plan(100, weight, 0, samples);
  EXPECT_NEAR(early.adam.inverse_sqrt_correction, 1 / std::sqrt(1 - std::pow(0.999, 100)), 1e-6);
  EXPECT_NEAR(early.adam.learning_rate, 0.05 / (1 - std::pow(0.9, 100)), 1e-8);
}

TEST(Optimizer, NonFiniteGradientsAreNotClippedIntoNumbers) {
  OptimizerSpec spec = spec_of(Rule::sgd);
  spec.clip_value = 1;
  const Optimizer optimizer(spec, 0.9);
  Memory memory(0);
  memory.update(optimizer.plan(1, weight, 0, samples), tensor_of(false),
                std::vector<float>(count, std::numeric_limits<float>::quiet_NaN()));
  EXPECT_TRUE(std::isnan(memory.parameters[0]));
}

}  // namespace
}  // namespace lepton::optim
