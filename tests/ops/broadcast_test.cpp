// SPDX-License-Identifier: Apache-2.0
// Steps of operands: dimensions are joined as far as possible, in both layouts; which operand is which.
#include "ops/broadcast.h"

#include <gtest/gtest.h>

namespace lepton::ops {
namespace {

TEST(Broadcast, JoinsWhatLiesTogether) {
  const Broadcast same = broadcast_of(2, {3, 4, 5}, Layout::channels_last, {{{3, 4, 5}}, {{3, 4, 5}}});
  EXPECT_EQ(same.dimensions, 1);
  EXPECT_EQ(same.size[0], 120);
  EXPECT_TRUE(same.whole[0] && same.whole[1]);
  const Broadcast channels =
      broadcast_of(2, {3, 4, 5}, Layout::channels_last, {{{3, 4, 5}}, {{3, 1, 1}, false}});
  EXPECT_EQ(channels.dimensions, 2);
  EXPECT_EQ(channels.size[0], 40);
  EXPECT_EQ(channels.size[1], 3);
  EXPECT_EQ(channels.step[1][0], 0);
  EXPECT_EQ(channels.step[1][1], 1);
  EXPECT_FALSE(channels.whole[1]);
  EXPECT_EQ(channels.own[1], 3);
  EXPECT_EQ(channels.count, 120);
  const Broadcast planes = broadcast_of(2, {3, 4, 5}, Layout::plain, {{{3, 4, 5}}, {{3, 1, 1}}});
  EXPECT_EQ(planes.dimensions, 2);
  EXPECT_EQ(planes.size[1], 20);
  EXPECT_EQ(planes.step[1][0], 1);
  EXPECT_EQ(planes.own[1], 6);
}

TEST(Broadcast, OneElement) {
  const Broadcast one = broadcast_of(1, {1, 1}, Layout::plain, {{{1, 1}}});
  EXPECT_EQ(one.dimensions, 1);
  EXPECT_EQ(one.size[0], 1);
  EXPECT_TRUE(one.whole[0]);
}

TEST(Broadcast, TooManyDimensions) {
  EXPECT_THROW(
      broadcast_of(2, {2, 2, 2, 2, 2, 2}, Layout::plain, {{{2, 1, 2, 1, 2, 1}}, {{1, 2, 1, 2, 1, 2}}}),
      Error);
}

TEST(Broadcast, OperandsInTheirOrder) {
  OpSpec spec{.type = "Where", .inputs = {{2}}, .parameters = {{2}, {1}}};
  const auto parameters = [&] {
    std::vector<bool> result;
    for (const Operand& operand : operands_of(spec)) result.push_back(operand.is_parameter);
    return result;
  };
  EXPECT_EQ(parameters(), (std::vector<bool>{false, true, true}));
  spec.attributes["parameter_first"] = int64_t{1};
  EXPECT_EQ(parameters(), (std::vector<bool>{true, true, false}));
  spec.attributes = {{"parameter_at", std::vector<int64_t>{0, 2}}};
  EXPECT_EQ(parameters(), (std::vector<bool>{true, false, true}));
}

TEST(Broadcast, TheLargestInputDecidesHowAllLie) {
  OpSpec spec{
      .type = "Mul", .inputs = {{4, 1, 1}, {4, 3, 5}}, .layouts = {Layout::plain, Layout::channels_last}};
  EXPECT_EQ(lay_broadcast(spec).inputs, (std::vector<Layout>(2, Layout::channels_last)));
  spec.parameters = {{1}};
  EXPECT_EQ(lay_broadcast(spec).output, Layout::channels_last);
  spec.parameters = {{3, 5}};
  EXPECT_EQ(lay_broadcast(spec).output, Layout::plain);
  spec = {.type = "Mul", .inputs = {{4, 3, 5}}, .parameters = {{1, 4, 1, 1}}, .layouts = {Layout::plain}};
  EXPECT_EQ(lay_broadcast(spec).output, Layout::channels_last);
}

}  // namespace
}  // namespace lepton::ops
