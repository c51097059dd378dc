// SPDX-License-Identifier: Apache-2.0
// The choices of [model], [optimizer], [schedule] and of the other tables stand in the order of their enums.
#include <gtest/gtest.h>

#include "deck_helpers.h"

namespace lepton::train {
namespace {

TEST(DeckKeysModel, ChoicesMatchTheirEnums) {
  using ops::LossKind;
  EXPECT_EQ(with({{"model.loss", "softmax_cross_entropy"}}).loss.kind, LossKind::softmax_cross_entropy);
  EXPECT_EQ(with({{"model.loss", "binary_cross_entropy"}}).loss.kind, LossKind::binary_cross_entropy);
  EXPECT_EQ(with({{"model.loss", "mse"}}).loss.kind, LossKind::mse);
  EXPECT_EQ(with({{"model.loss", "mae"}}).loss.kind, LossKind::mae);
  EXPECT_EQ(with({{"model.loss", "huber"}}).loss.kind, LossKind::huber);
  EXPECT_EQ(with({{"model.loss", "poisson"}}).loss.kind, LossKind::poisson);
  EXPECT_EQ(with({{"model.loss", "softmax_focal"}}).loss.kind, LossKind::softmax_focal);
  EXPECT_EQ(with({{"model.loss", "binary_focal"}}).loss.kind, LossKind::binary_focal);
  EXPECT_EQ(with({{"model.loss", "multiclass_hinge"}}).loss.kind, LossKind::multiclass_hinge);
  EXPECT_EQ(with({{"model.loss", "binary_hinge"}}).loss.kind, LossKind::binary_hinge);
  EXPECT_EQ(with({{"model.loss", "softmax_dice"}}).loss.kind, LossKind::softmax_dice);
  EXPECT_EQ(with({{"model.loss", "binary_dice"}}).loss.kind, LossKind::binary_dice);
  EXPECT_EQ(with({{"optimizer.type", "sgd"}}).optimizer.rule, optim::Rule::sgd);
  EXPECT_EQ(with({{"optimizer.type", "adam"}}).optimizer.rule, optim::Rule::adam);
  EXPECT_EQ(with({{"optimizer.type", "adamw"}}).optimizer.rule, optim::Rule::adamw);
  const auto schedule = [](const char* type) {
    return with({{"schedule.type", type}, {"schedule.every", type == std::string("step") ? "5" : "0"}})
        .optimizer.schedule.kind;
  };
  EXPECT_EQ(schedule("constant"), optim::ScheduleKind::constant);
  EXPECT_EQ(schedule("step"), optim::ScheduleKind::step);
  EXPECT_EQ(schedule("cosine"), optim::ScheduleKind::cosine);
  EXPECT_EQ(schedule("polynomial"), optim::ScheduleKind::polynomial);
  EXPECT_EQ(with({{"train.on_non_finite", "stop"}}).train.on_non_finite, OnNonFinite::stop);
  EXPECT_EQ(with({{"train.on_non_finite", "skip"}}).train.on_non_finite, OnNonFinite::skip);
  EXPECT_EQ(with({{"balance.policy", "static"}}).balance.policy, balance::Policy::static_);
  EXPECT_EQ(with({{"balance.policy", "proportional"}}).balance.policy, balance::Policy::proportional);
  EXPECT_EQ(with({{"balance.policy", "steal"}}).balance.policy, balance::Policy::steal);
}

}  // namespace
}  // namespace lepton::train
