// SPDX-License-Identifier: Apache-2.0
// Which loop updates a segment, with which decay: against the loops of ops/update called by hand, bit for
// bit. What a rule is made of is tested in tests/optim/optimizer_test.cpp, the loops in update_test.cpp.
#include "ops/update_rule.h"

#include <limits>

#include "ops/harness.h"
#include "ops/update_math.h"
#include "ops/update_rules.h"

namespace lepton::ops {
namespace {

using testing::Floats;
using testing::random_floats;
using testing::rule_of;

constexpr int64_t count = 101;
constexpr TensorRule weights{false, true, 0.02f}, bias{false, false, 0.02f}, statistic{true, false, 0};

/// A segment's memory; what is to be written holds NaN.
struct Buffers {
  Floats g = random_floats(count, 1), w = random_floats(count, 2), m = random_floats(count, 3),
         v = random_floats(count, 4, 0, 1);
  Floats w_new = Floats(count, NAN), m_new = Floats(count, NAN), v_new = Floats(count, NAN);

  void update(const UpdateRule& rule, const TensorRule& tensor) {
    SegmentState state{g, w, w_new, {m, v}, {m_new, v_new}};
    if (rule.kind != UpdateKind::adam) state.moments[1] = {}, state.moments_new[1] = {};
    if (rule.kind == UpdateKind::sgd_plain) state.moments[0] = {}, state.moments_new[0] = {};
    update_segment(rule, tensor, state);
  }
  bool untouched(const Floats& values) const {
    return std::ranges::all_of(values, [](float value) { return std::isnan(value); });
  }
};

/// The mean gradient as update_segment hands it to a loop.
Buffers normalised(const UpdateRule& rule, float l2) {
  Buffers memory;
  normalise_gradient(memory.g, rule.weight, rule.clip_factor, l2, memory.w, rule.clip_value);
  return memory;
}

TEST(StepFor, KeepsItsDecayWhereTheTensorDecaysAndEverythingElseAnyway) {
  const UpdateRule rule = rule_of(UpdateKind::adam);
  for (const bool decays : {true, false}) {
    const SgdStep sgd = step_for(rule.sgd, decays);
    EXPECT_EQ(sgd.decay, decays ? 0.03f : 0.0f);
    EXPECT_EQ(sgd.learning_rate, 0.1f);
    EXPECT_EQ(sgd.momentum, 0.9f);
    EXPECT_TRUE(sgd.nesterov);
    const AdamStep adam = step_for(rule.adam, decays);
    EXPECT_EQ(adam.decay, decays ? 0.04f : 0.0f);
    EXPECT_EQ(adam.keep, decays ? 0.95f : 1.0f);
    EXPECT_EQ(adam.learning_rate, 0.01f);
    EXPECT_EQ(adam.beta2, 0.99f);
  }
}

TEST(UpdateRule, SgdPlain) {
  const UpdateRule rule = rule_of(UpdateKind::sgd_plain);
  for (const TensorRule& tensor : {weights, bias}) {
    Buffers got, want = normalised(rule, tensor.decays ? 0.02f : 0);
    got.update(rule, tensor);
    sgd_plain(step_for(rule.sgd, tensor.decays), want.g, want.w, want.w_new);
    EXPECT_EQ(got.w_new, want.w_new);
    EXPECT_TRUE(got.untouched(got.m_new) && got.untouched(got.v_new));
  }
}

TEST(UpdateRule, SgdWithMomentum) {
  const UpdateRule rule = rule_of(UpdateKind::sgd);
  for (const TensorRule& tensor : {weights, bias}) {
    Buffers got, want = normalised(rule, tensor.decays ? 0.02f : 0);
    got.update(rule, tensor);
    sgd(step_for(rule.sgd, tensor.decays), want.g, want.w, want.m, want.w_new, want.m_new);
    EXPECT_EQ(got.w_new, want.w_new);
    EXPECT_EQ(got.m_new, want.m_new);
    EXPECT_TRUE(got.untouched(got.v_new));
  }
}

TEST(UpdateRule, Adam) {
  const UpdateRule rule = rule_of(UpdateKind::adam);
  for (const TensorRule& tensor : {weights, bias}) {
    Buffers got, want = normalised(rule, tensor.decays ? 0.02f : 0);
    got.update(rule, tensor);
    adam(step_for(rule.adam, tensor.decays), want.g, want.w, want.m, want.v, want.w_new, want.m_new,
         want.v_new);
    EXPECT_EQ(got.w_new, want.w_new);
    EXPECT_EQ(got.m_new, want.m_new);
    EXPECT_EQ(got.v_new, want.v_new);
  }
}

// L2 and decay are options of the tensor: each alone changes the numbers, and none where it does not decay.
TEST(UpdateRule, DecayAndL2Count) {
  for (const UpdateKind kind : {UpdateKind::sgd_plain, UpdateKind::sgd, UpdateKind::adam}) {
    Buffers both, without_l2, neither, l2_only_stated;
    both.update(rule_of(kind), weights);
    without_l2.update(rule_of(kind), {false, true, 0});
    neither.update(rule_of(kind), {false, false, 0});
    l2_only_stated.update(rule_of(kind), bias);
    EXPECT_NE(both.w_new, without_l2.w_new);
    EXPECT_NE(without_l2.w_new, neither.w_new);
    EXPECT_EQ(l2_only_stated.w_new, neither.w_new);
  }
}

TEST(UpdateRule, StatisticsAreAveragedAndTheirMomentsAreZero) {
  for (const UpdateKind kind : {UpdateKind::sgd_plain, UpdateKind::sgd, UpdateKind::adam}) {
    Buffers got, want;
    got.update(rule_of(kind), statistic);
    update_statistic(want.g, 5, 0.8f, want.w, want.w_new);
    EXPECT_EQ(got.w_new, want.w_new);
    const Floats zeros(count, 0.0f);
    if (kind == UpdateKind::sgd_plain)
      EXPECT_TRUE(got.untouched(got.m_new));
    else
      EXPECT_EQ(got.m_new, zeros);
    if (kind == UpdateKind::adam)
      EXPECT_EQ(got.v_new, zeros);
    else
      EXPECT_TRUE(got.untouched(got.v_new));
  }
}

TEST(UpdateRule, WhatIsFrozenStaysAndSoDoItsMoments) {
  for (const bool of_statistic : {true, false})
    for (const UpdateKind kind : {UpdateKind::sgd_plain, UpdateKind::sgd, UpdateKind::adam}) {
      Buffers got;
      const Floats w = got.w;
      got.update(rule_of(kind), {of_statistic, true, 0.02f, true});
      EXPECT_EQ(got.w_new, w);
      EXPECT_TRUE(kind == UpdateKind::sgd_plain || got.m_new == got.m);
      EXPECT_TRUE(kind != UpdateKind::adam || got.v_new == got.v);
    }
}

}  // namespace
}  // namespace lepton::ops
