// SPDX-License-Identifier: Apache-2.0
// Where queries, keys and values lie, for one input and for three; every refusal.
#include "ops/attention_shape.h"

#include <cmath>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

Attributes shape_heads(int64_t queries, int64_t keys, bool causal) {
  return {{"q_num_heads", queries}, {"kv_num_heads", keys}, {"is_causal", int64_t{causal}}};
}

OpSpec attention(const std::vector<Shape>& inputs, const Attributes& attributes) {
  return {.type = "Attention", .attributes = attributes, .samples = 1, .inputs = inputs};
}

TEST(AttentionShape, OneInputOfAllThree) {
  const AttentionShape s(attention({{5, (4 + 2 * 2) * 3}}, shape_heads(4, 2, true)));
  EXPECT_TRUE(s.packed && s.causal);
  EXPECT_EQ(s.queries, 5);
  EXPECT_EQ(s.keys, 5);
  EXPECT_EQ(s.size, 3);
  EXPECT_EQ(s.value_size, 3);
  EXPECT_EQ(s.begin[1], 12);
  EXPECT_EQ(s.begin[2], 18);
  EXPECT_EQ(s.row[2], 24);
  EXPECT_EQ(s.heads_per_key(), 2);
  EXPECT_FLOAT_EQ(s.scale, 1 / std::sqrt(3.0f));
}

TEST(AttentionShape, ThreeInputs) {
  const AttentionShape s(attention({{5, 12}, {9, 6}, {9, 10}}, shape_heads(4, 2, false)));
  EXPECT_FALSE(s.packed || s.causal);
  EXPECT_EQ(s.keys, 9);
  EXPECT_EQ(s.size, 3);
  EXPECT_EQ(s.value_size, 5);
  EXPECT_EQ(s.begin[2], 0);
  EXPECT_EQ(s.row[0], 12);
  EXPECT_EQ(s.row[2], 10);
}

TEST(AttentionShape, Lengths) {
  const AttentionShape own(attention({{5, 12}, {1}}, shape_heads(1, 1, false)));
  EXPECT_TRUE(own.packed && own.lengths);
  EXPECT_EQ(own.keys_of(3), 3);
  EXPECT_EQ(own.queries_of(3), 3) << "of the same sequence";
  const AttentionShape other(attention({{5, 12}, {9, 6}, {9, 10}, {1}}, shape_heads(4, 2, false)));
  EXPECT_TRUE(!other.packed && other.lengths);
  EXPECT_EQ(other.keys_of(3), 3);
  EXPECT_EQ(other.queries_of(3), 5);
  EXPECT_EQ(other.queries_of(0), 0) << "no keys are left";
  EXPECT_FALSE(AttentionShape(attention({{5, 12}}, {})).lengths);
}

TEST(AttentionShape, Masks) {
  const AttentionShape own(attention({{5, 12}, {5}}, shape_heads(1, 1, true)));
  EXPECT_TRUE(own.packed && own.mask && !own.lengths);
  const AttentionShape other(attention({{5, 12}, {9, 6}, {9, 10}, {9}}, shape_heads(4, 2, false)));
  EXPECT_TRUE(!other.packed && other.mask && !other.lengths);
  EXPECT_TRUE(AttentionShape(attention({{5, 4}, {5, 4}, {5, 4}, {5}}, shape_heads(1, 1, true))).mask);
  EXPECT_TRUE(AttentionShape(attention({{1, 12}, {1}}, {})).lengths) << "of one key, which says the same";
}

TEST(AttentionShape, OneHeadByDefault) {
  const AttentionShape s(attention({{5, 12}}, {}));
  EXPECT_EQ(s.heads, 1);
  EXPECT_EQ(s.key_heads, 1);
  EXPECT_EQ(s.size, 4);
}

TEST(AttentionShape, Refusals) {
  expect_refused(attention({{5, 13}}, shape_heads(2, 2, false)), "rows of 13 into 6 heads");
  expect_refused(attention({{5, 12}}, shape_heads(3, 2, false)), "the latter must divide");
  expect_refused(attention({{5, 4}, {5, 4}}, shape_heads(1, 1, false)), "Q, K and V");
  expect_refused(attention({{5, 4}, {5, 6}, {5, 4}}, shape_heads(1, 1, false)), "do not fit");
  expect_refused(attention({{5, 4}, {6, 4}, {6, 4}}, shape_heads(1, 1, true)), "as many queries as keys");
  expect_refused(attention({{5, 12}, {9, 6}, {9, 10}, {2}}, shape_heads(4, 2, false)),
                 "one length per sample, [1], or a mask of the keys, [9], not [2]");
  expect_refused(attention({{5, 4}, {5, 4}, {5, 4}, {1}}, shape_heads(1, 1, true)), "without lengths only");
  expect_refused(attention({{3, 4, 5}}, shape_heads(1, 1, false)), "not [3, 4, 5]");
}

}  // namespace
}  // namespace lepton::ops
