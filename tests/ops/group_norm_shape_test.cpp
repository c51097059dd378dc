// SPDX-License-Identifier: Apache-2.0
// Shapes of normalisations of groups, and what they refuse.
#include "ops/group_norm_shape.h"

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec groups_of(const char* type, Attributes attributes, std::vector<Shape> parameters) {
  return {.type = type,
          .attributes = std::move(attributes),
          .samples = 2,
          .inputs = {{6, 3, 5}},
          .parameters = std::move(parameters)};
}

TEST(GroupNormShape, Sizes) {
  const GroupNormShape groups(
      groups_of("GroupNormalization", {{"num_groups", int64_t{2}}, {"epsilon", 0.25}}, {{6}, {6}}));
  EXPECT_EQ(groups.pixels, 15);
  EXPECT_EQ(groups.group_channels(), 3);
  EXPECT_EQ(groups.group_elements(), 45);
  EXPECT_EQ(groups.epsilon, 0.25f);
  EXPECT_EQ(GroupNormShape(groups_of("InstanceNormalization", {}, {{6}, {6}})).groups, 6);
}

TEST(GroupNormShape, Refusals) {
  expect_refused(groups_of("GroupNormalization", {}, {{6}, {6}}), "into 0 groups");
  expect_refused(groups_of("GroupNormalization", {{"num_groups", int64_t{4}}}, {{6}, {6}}),
                 "[6, 3, 5] into 4 groups");
  expect_refused(groups_of("InstanceNormalization", {}, {{6}}), "a scale and a bias");
  expect_refused(groups_of("InstanceNormalization", {}, {{6}, {3}}),
                 "[3] is not one number for each channel");
}

}  // namespace
}  // namespace lepton::ops
