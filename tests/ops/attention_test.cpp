// SPDX-License-Identifier: Apache-2.0
// Attention against a plain double loop: heads, shared key heads, causal or not, several tiles of queries,
// one or three inputs, given scale, lengths, masks.
#include <limits>

#include "ops/attention_shape.h"
#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

Attributes heads(int64_t queries, int64_t keys, bool causal) {
  return {{"q_num_heads", queries}, {"kv_num_heads", keys}, {"is_causal", int64_t{causal}}};
}

OpSpec packed(int64_t n, int64_t length, int64_t width, const Attributes& attributes) {
  return {.type = "Attention",
          .attributes = attributes,
          .samples = n,
          .training = true,
          .inputs = {{length, width}}};
}

OpSpec apart(int64_t n, const std::vector<Shape>& inputs, const Attributes& attributes) {
  return {.type = "Attention", .attributes = attributes, .samples = n, .training = true, .inputs = inputs};
}

/// The same with one more input, which the last one of the operands has: lengths.
OpSpec with_lengths(OpSpec spec) {
  spec.input_needs_gradient.assign(spec.inputs.size(), true);
  spec.inputs.push_back({1});
  spec.input_needs_gradient.push_back(false);
  return spec;
}
Operands ending_at(const OpSpec& spec, const Floats& lengths) {
  Operands operands = random_operands(completed(spec));
  operands.inputs.back() = lengths;
  return operands;
}

OpSpec with_mask(OpSpec spec) {
  const int64_t keys = AttentionShape(spec).keys;
  spec = with_lengths(spec);
  spec.inputs.back() = {keys};
  return spec;
}

/// One head of one sample, from rows of its operands, of which so many count, or those that a mask shows.
void attend(const AttentionShape& s, int64_t queries, int64_t keys, const double* mask, const double* q,
            const double* k, const double* v, double* y) {
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t count = s.causal ? std::min(i + 1, keys) : keys;
    Numbers shares(static_cast<size_t>(count));
    double sum = 0;
    for (int64_t j = 0; j < count; ++j) {
      double score = 0;
      for (int64_t c = 0; c < s.size; ++c) score += q[i * s.row[0] + c] * k[j * s.row[1] + c];
      const bool seen = !mask || mask[j] != 0;
      sum += shares[static_cast<size_t>(j)] = seen ? std::exp(score * static_cast<double>(s.scale)) : 0.0;
    }
    if (sum == 0) continue;  // y is 0
    for (int64_t c = 0; c < s.value_size; ++c) {
      double value = 0;
      for (int64_t j = 0; j < count; ++j) value += shares[static_cast<size_t>(j)] / sum * v[j * s.row[2] + c];
      y[i * s.heads * s.value_size + c] = value;
    }
  }
}

Reference attention_reference(const OpSpec& spec) {
  const AttentionShape s(spec);
  return [s, n = spec.samples](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    Numbers y(static_cast<size_t>(n * s.queries * s.heads * s.value_size));
    for (int64_t sample = 0; sample < n; ++sample)
      for (int64_t head = 0; head < s.heads; ++head) {
        const auto given =
            s.lengths ? static_cast<int64_t>(inputs.back()[static_cast<size_t>(sample)]) : s.keys;
        const int64_t keys = std::clamp<int64_t>(given, 0, s.keys);
        const int64_t queries = s.lengths && (s.packed || keys == 0) ? keys : s.queries;
        const auto operand = [&](size_t i, int64_t rows, int64_t at) {
          return inputs[s.packed ? 0 : i].data() + sample * rows * s.row[i] + s.begin[i] + at;
        };
        const int64_t of_keys = head / s.heads_per_key();
        const double* mask = s.mask ? inputs.back().data() + sample * s.keys : nullptr;
        attend(s, queries, keys, mask, operand(0, s.queries, head * s.size),
               operand(1, s.keys, of_keys * s.size), operand(2, s.keys, of_keys * s.value_size),
               y.data() + (sample * s.queries * s.heads + head) * s.value_size);
      }
    return y;
  };
}

void check_attention(const OpSpec& spec) {
  check_op(spec, attention_reference(spec), 4e-6);
}

TEST(Attention, OneInputOfAllThree) {
  for (const bool causal : {false, true}) {
    check_attention(packed(2, 5, 3 * 12, heads(3, 3, causal)));
    check_attention(packed(1, 1, 3, heads(1, 1, causal)));
  }
}

TEST(Attention, SeveralTilesOfQueries) {
  for (const bool causal : {false, true}) {
    check_attention(packed(1, 67, 3 * 4, heads(2, 2, causal)));
    OpSpec three = packed(2, 131, 3 * 6, heads(2, 2, causal));  // forward: derivatives of so many take long
    three.training = false;
    check_attention(three);
  }
}

TEST(Attention, HeadsThatShareKeys) {
  for (const bool causal : {false, true}) {
    check_attention(packed(2, 7, (4 + 2 * 2) * 5, heads(4, 2, causal)));
    check_attention(packed(1, 70, (2 + 2) * 3, heads(2, 1, causal)));
  }
}

TEST(Attention, ThreeInputs) {
  check_attention(apart(2, {{5, 12}, {9, 12}, {9, 8}}, heads(4, 4, false)));
  check_attention(apart(2, {{6, 12}, {6, 6}, {6, 10}}, heads(4, 2, true)));
}

TEST(Attention, InputsThatNeedNoGradient) {
  for (size_t i = 0; i < 3; ++i) {
    OpSpec spec = apart(1, {{5, 4}, {3, 4}, {3, 4}}, heads(2, 2, false));
    spec.input_needs_gradient = {i == 0, i == 1, i == 2};
    check_attention(spec);
  }
}

TEST(Attention, ScaleOfTheScores) {
  OpSpec spec = packed(1, 5, 3 * 4, heads(2, 2, true));
  EXPECT_FLOAT_EQ(AttentionShape(spec).scale, 1 / std::sqrt(2.0f));
  spec.attributes["scale"] = 2.0;
  EXPECT_EQ(AttentionShape(spec).scale, 2.0f);
  check_attention(spec);
}

void check_attention(const OpSpec& open, const Floats& lengths) {
  const OpSpec spec = with_lengths(open);
  const Operands operands = ending_at(spec, lengths);
  check_op(spec, attention_reference(spec), 4e-6, &operands);
}

TEST(Attention, LengthsEndASequence) {
  for (const bool causal : {false, true}) {
    check_attention(packed(5, 6, 3 * 4, heads(2, 2, causal)), {6, 1, 4, 0, 5});
    check_attention(packed(2, 7, (4 + 2 * 2) * 5, heads(4, 2, causal)), {3, 7});
    check_attention(packed(1, 70, (2 + 2) * 3, heads(2, 1, causal)), {66});
    check_attention(packed(1, 70, (2 + 2) * 3, heads(2, 1, causal)), {33});
    check_attention(packed(2, 4, 3 * 2, heads(1, 1, causal)), {9, -2});  // cut
  }
}

TEST(Attention, LengthsOfKeysAndValues) {
  check_attention(apart(3, {{5, 12}, {9, 12}, {9, 8}}, heads(4, 4, false)), {4, 9, 0});
  check_attention(apart(2, {{67, 4}, {20, 2}, {20, 3}}, heads(2, 1, false)), {17, 1});
}

/// Not even what is no number; of K and V, or of the whole sequence.
TEST(Attention, NothingComesFromBehindTheEnd) {
  for (const bool causal : {false, true})
    for (const bool whole : {true, false}) {
      if (causal && !whole) continue;  // refused
      const OpSpec spec =
          completed(with_lengths(whole ? packed(2, 6, 3 * 4, heads(2, 2, causal))
                                       : apart(2, {{6, 4}, {6, 4}, {6, 4}}, heads(2, 2, causal))));
      Operands operands = ending_at(spec, {4, 6}), other = operands;
      for (size_t i = whole ? 0 : 1; i < (whole ? 1 : 3); ++i) {
        const auto row = static_cast<size_t>(spec.inputs[i][1]);
        std::fill_n(other.inputs[i].begin() + static_cast<int64_t>(4 * row), 2 * row,
                    std::numeric_limits<float>::quiet_NaN());
      }
      const Results one = run_op(spec, operands), two = run_op(spec, other);
      EXPECT_EQ(one.output, two.output);
      for (size_t i = whole ? 0 : 1; i < (whole ? 1 : 3); ++i) {
        EXPECT_EQ(one.input_gradients[i], two.input_gradients[i]);
        const auto row = static_cast<size_t>(spec.inputs[i][1]);
        for (size_t c = 4 * row; c < 6 * row; ++c) EXPECT_EQ(one.input_gradients[i][c], 0.0f);
      }
      for (size_t c = 4 * 4; c < 6 * 4; ++c) EXPECT_EQ(one.output[c] == 0, whole) << "of padded queries";
    }
}

TEST(Attention, FullLengthsAreNone) {
  for (const bool causal : {false, true}) {
    const OpSpec without = completed(packed(2, 67, 3 * 4, heads(2, 2, causal)));
    const OpSpec with = completed(with_lengths(without));
    Operands operands = ending_at(with, {67, 100});
    const Results one = run_op(with, operands);
    operands.inputs.pop_back();
    const Results two = run_op(without, operands);
    EXPECT_EQ(one.output, two.output);
    EXPECT_EQ(one.input_gradients[0], two.input_gradients[0]);
  }
}

void check_masked(const OpSpec& open, const Floats& mask) {
  const OpSpec spec = with_mask(open);
  const Operands operands = ending_at(spec, mask);
  check_op(spec, attention_reference(spec), 4e-6, &operands);
}

/// Of samples with so many keys: ones and zeros at random, the last sample sees nothing.
Floats mask_of(int64_t samples, int64_t keys) {
  Floats mask(static_cast<size_t>(samples * keys));
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = (i * 2654435761U >> 7) % 3 == 0 ? 0.0f : 1.0f;
  std::fill(mask.end() - keys, mask.end(), 0.0f);
  return mask;
}

TEST(Attention, MasksHideKeys) {
  for (const bool causal : {false, true}) {
    check_masked(packed(2, 4, 3 * 4, heads(2, 2, causal)), {0, 1, 0, 0.5f, -1, 0, 0, 1});
    check_masked(packed(3, 7, (4 + 2 * 2) * 5, heads(4, 2, causal)), mask_of(3, 7));
    Floats longer = mask_of(2, 70);
    longer.resize(70);
    check_masked(packed(1, 70, (2 + 2) * 3, heads(2, 1, causal)), longer);
    check_masked(apart(3, {{6, 12}, {6, 6}, {6, 10}}, heads(4, 2, causal)), mask_of(3, 6));
  }
  check_masked(apart(3, {{5, 12}, {9, 12}, {9, 8}}, heads(4, 4, false)), mask_of(3, 9));
  check_masked(apart(2, {{67, 4}, {20, 2}, {20, 3}}, heads(2, 1, false)), mask_of(2, 20));
}

TEST(Attention, AMaskOfOnesIsNone) {
  for (const bool causal : {false, true}) {
    const OpSpec without = completed(packed(2, 67, 3 * 4, heads(2, 2, causal)));
    const OpSpec with = completed(with_mask(without));
    Operands operands = ending_at(with, Floats(2 * 67, 1.0f));
    const Results one = run_op(with, operands);
    operands.inputs.pop_back();
    const Results two = run_op(without, operands);
    EXPECT_EQ(one.output, two.output);
    EXPECT_EQ(one.input_gradients[0], two.input_gradients[0]);
  }
}

TEST(Attention, WhatIsNotFiniteComesOutWhereAMaskShowsIt) {
  const OpSpec spec = completed(with_mask(apart(2, {{2, 1}, {2, 1}, {2, 1}}, heads(1, 1, false))));
  Operands operands = ending_at(spec, {1, 1, 0, 1});
  constexpr float large = 1e30f, none = std::numeric_limits<float>::quiet_NaN();
  operands.inputs[0] = {large, 1, none, 1};  // all scores of the first query overflow to -Inf
  operands.inputs[1] = {-large, -large, 1, 1};
  const Floats output = run_op(spec, operands).output;
  EXPECT_TRUE(std::isnan(output[0]));
  EXPECT_TRUE(std::isfinite(output[1]));
  EXPECT_TRUE(std::isnan(output[2]));
  EXPECT_TRUE(std::isfinite(output[3]));
}

TEST(Attention, NothingComesFromHiddenKeys) {
  const OpSpec spec = completed(with_mask(apart(2, {{6, 4}, {6, 4}, {6, 4}}, heads(2, 2, false))));
  const Floats mask = {1, 0, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1};
  const Operands operands = ending_at(spec, mask);
  Operands other = operands;
  for (size_t key = 0; key < mask.size(); ++key)
    for (size_t c = 4 * key; mask[key] == 0 && c < 4 * key + 4; ++c)
      other.inputs[1][c] += 3, other.inputs[2][c] -= 5;
  const Results one = run_op(spec, operands), two = run_op(spec, other);
  EXPECT_EQ(one.output, two.output);
  EXPECT_EQ(one.input_gradients[0], two.input_gradients[0]);
  for (size_t i : {size_t{1}, size_t{2}})
    for (size_t c = 0; c < 4 * mask.size(); ++c) EXPECT_EQ(one.input_gradients[i][c] == 0, mask[c / 4] == 0);
}

TEST(Attention, MemoryIsLinearInTheSequence) {
  const auto bytes = [](int64_t length) {
    prepare_thread();
    const auto op = make_op(completed(packed(1, length, 3 * 8, heads(1, 1, true))));
    return op->saved_bytes() + op->scratch_bytes();
  };
  EXPECT_LT(bytes(4096), 5 * bytes(1024));
}

}  // namespace
}  // namespace lepton::ops
