// SPDX-License-Identifier: Apache-2.0
// Attention (Vaswani et al. 2017): softmax(scale Q K^T) V for each head, all keys or, causal, those up to the
// query. Scores exist for a tile of queries at a time, so memory is linear in the sequence; backward makes
// them again from what forward keeps of each row, its largest score and its sum (as Dao et al. 2022). With
// P the softmax and O = P V:
//   dV = P^T dO,   dP = dO V^T,   dS = scale P (dP - rowsum(dP P)),   dQ = dS K,   dK = dS^T Q.
// Products by oneDNN, in fp32 whatever the network's precision; tiles from the last to the first, so that the
// first one done covers all keys. Made by the table, run by model/executor. Twin: kernels/attention.cu.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/simd.h"
#include "ops/attention_shape.h"
#include "ops/math.h"
#include "ops/onednn.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

using onednn::desc;
using onednn::strided;
using onednn::Tag;

// Of queries. The scores of 2,048 keys stay in the second-level cache; of a causal tile fewer are in vain
// than of larger ones (64 queries and keys, 32 wide: 304 us forward and 533 backward; in one tile 334 and
// 551; in tiles of 16, 400 and 750).
constexpr int64_t tile_queries = 32;

constexpr int64_t sum_lanes = 16;

// Sum over i of term(i), lane i modulo 16, lanes folded pairwise: bits do not depend on the machine.
template <class Term>
[[gnu::always_inline]] inline float sum_of(int64_t count, const Term& term) {
  float sum[sum_lanes] = {};
  int64_t i = 0;
  for (; i + sum_lanes <= count; i += sum_lanes)
    for (int64_t k = 0; k < sum_lanes; ++k) sum[k] += term(i + k);
  for (int64_t k = 0; i + k < count; ++k) sum[k] += term(i + k);
  for (int64_t half = sum_lanes / 2; half > 0; half /= 2)
    for (int64_t k = 0; k < half; ++k) sum[k] += sum[k + half];
  return sum[0];
}

/// What is kept of a row of scores: p = e^(scale s - shift) share.
struct RowSoftmax {
  float shift, share;
};

/// Scores to shares; of row r the first `first + r * causal` keys count, the others get 0.
LEPTON_SIMD void softmax_rows(int64_t rows, int64_t keys, int64_t first, bool causal, float scale, float* s,
                              RowSoftmax* kept) {
  for (int64_t r = 0; r < rows; ++r) {
    float* row = s + r * keys;
    const int64_t count = causal ? first + r : keys;
    float largest = row[0];
    for (int64_t i = 1; i < count; ++i) largest = row[i] > largest ? row[i] : largest;
    const float shift = largest * scale;
    for (int64_t i = 0; i < count; ++i) row[i] = math::exp(row[i] * scale - shift);
    const float share = 1.0f / sum_of(
                                   count, [=](int64_t i) __attribute__((always_inline)) { return row[i]; });
    for (int64_t i = 0; i < count; ++i) row[i] *= share;
    std::fill(row + count, row + keys, 0.0f);
    if (kept) kept[r] = {shift, share};
  }
}

/// The same from what was kept.
LEPTON_SIMD void softmax_rows_again(int64_t rows, int64_t keys, int64_t first, bool causal, float scale,
                                    const RowSoftmax* kept, float* s) {
  for (int64_t r = 0; r < rows; ++r) {
    float* row = s + r * keys;
    const int64_t count = causal ? first + r : keys;
    const float shift = kept[r].shift, share = kept[r].share;
    for (int64_t i = 0; i < count; ++i) row[i] = math::exp(row[i] * scale - shift) * share;
    std::fill(row + count, row + keys, 0.0f);
  }
}

/// dP to dS, in place. Where p is 0, so is dS.
LEPTON_SIMD void score_gradients(int64_t rows, int64_t keys, float scale, const float* p, float* dp) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* share = p + r * keys;
    float* row = dp + r * keys;
    const float mean = sum_of(
        keys, [=](int64_t i) __attribute__((always_inline)) { return row[i] * share[i]; });
    for (int64_t i = 0; i < keys; ++i) row[i] = scale * (share[i] * (row[i] - mean));
  }
}

/// The products of one tile of queries: how many rows, and which keys they can see.
struct Tile {
  int64_t first = 0, rows = 0, keys = 0;
  onednn::Planned scores, output;                      // forward; scores also backward
  onednn::Planned share_gradient, query_gradient;      // backward
  onednn::Planned key_gradient[2], value_gradient[2];  // = and +=
};

class AttentionOp : public Op {
 public:
  explicit AttentionOp(const OpSpec& spec) : shape_(spec), samples_(spec.samples) {
    const AttentionShape& s = shape_;
    int64_t largest = 0;
    size_t pad = 0;
    for (int64_t first = 0; first < s.queries; first += tile_queries) {
      tiles_.push_back(plan_tile(first, spec.training, pad));
      largest = std::max(largest, tiles_.back().rows * tiles_.back().keys);
    }
    MemoryPlan saved, scratch;
    if (spec.training) saved.add(static_cast<size_t>(samples_ * s.heads * s.queries) * sizeof(RowSoftmax));
    saved_bytes_ = saved.bytes();
    shares_ = scratch.add_floats(largest);
    gradients_ = scratch.add_floats(spec.training ? largest : 0);
    pad_ = scratch.add(pad);
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override {
    const AttentionShape& s = shape_;
    float* shares = floats_at(run.scratch, shares_);
    for (int64_t sample = 0; sample < samples_; ++sample)
      for (int64_t head = 0; head < s.heads; ++head) {
        const Head h = head_of(run.inputs, sample, head);
        for (Tile& tile : tiles_) {
          tile.scores.primitive.run({h.q + tile.first * s.row[0], h.k, shares, run.scratch + pad_});
          softmax_rows(tile.rows, tile.keys, tile.first + 1, s.causal, s.scale, shares,
                       saved_bytes_ > 0 ? kept(run.saved, sample, head) + tile.first : nullptr);
          tile.output.primitive.run(
              {shares, h.v, run.output + output_at(sample, head, tile.first), run.scratch + pad_});
        }
      }
  }

  void backward(const OpBackward& run) override {
    const AttentionShape& s = shape_;
    float *shares = floats_at(run.scratch, shares_), *gradients = floats_at(run.scratch, gradients_);
    std::byte* pad = run.scratch + pad_;
    for (int64_t sample = 0; sample < samples_; ++sample)
      for (int64_t head = 0; head < s.heads; ++head) {
        const Head h = head_of(run.inputs, sample, head);
        float* const dq = gradient_at(run, 0, sample, head);
        float* const dk = gradient_at(run, 1, sample, head / s.heads_per_key());
        float* const dv = gradient_at(run, 2, sample, head / s.heads_per_key());
        bool more = head % s.heads_per_key() > 0;  // to what another head of these keys gave
        for (size_t t = tiles_.size(); t-- > 0; more = true) {
          Tile& tile = tiles_[t];
          const float* q = h.q + tile.first * s.row[0];
          const float* dy = run.output_gradient + output_at(sample, head, tile.first);
          tile.scores.primitive.run({q, h.k, shares, pad});
          softmax_rows_again(tile.rows, tile.keys, tile.first + 1, s.causal, s.scale,
                             kept(run.saved, sample, head) + tile.first, shares);
          if (dv) tile.value_gradient[more].primitive.run({shares, dy, dv, pad});
          if (!dq && !dk) continue;
          tile.share_gradient.primitive.run({dy, h.v, gradients, pad});
          score_gradients(tile.rows, tile.keys, s.scale, shares, gradients);
          if (dq) tile.query_gradient.primitive.run({gradients, h.k, dq + tile.first * s.row[0], pad});
          if (dk) tile.key_gradient[more].primitive.run({gradients, q, dk, pad});
        }
      }
  }

  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  struct Head {
    const float *q, *k, *v;
  };

  Tile plan_tile(int64_t first, bool training, size_t& pad) const {
    const AttentionShape& s = shape_;
    Tile tile;
    tile.first = first;
    tile.rows = std::min(tile_queries, s.queries - first);
    tile.keys = s.causal ? first + tile.rows : s.keys;
    const int64_t rows = tile.rows, keys = tile.keys, d = s.size, e = s.value_size;
    const auto q = strided({rows, d}, {s.row[0], 1}), k = strided({keys, d}, {s.row[1], 1}),
               v = strided({keys, e}, {s.row[2], 1}), y = strided({rows, e}, {s.heads * e, 1});
    const auto k_turned = strided({d, keys}, {1, s.row[1]}), v_turned = strided({e, keys}, {1, s.row[2]});
    const auto shares = desc({rows, keys}, Tag::ab), shares_turned = strided({keys, rows}, {1, keys});
    const auto plan = [&](onednn::Planned& to, const onednn::Desc& a, const onednn::Desc& b,
                          const onednn::Desc& c, bool accumulate = false) {
      to = onednn::product(a, b, c, accumulate);
      pad = std::max(pad, to.scratchpad_bytes);
    };
    plan(tile.scores, q, k_turned, shares);
    plan(tile.output, shares, v, y);
    if (!training) return tile;
    plan(tile.share_gradient, y, v_turned, shares);
    plan(tile.query_gradient, shares, k, q);
    for (const bool more : {false, true}) {
      plan(tile.key_gradient[more], shares_turned, q, k, more);
      plan(tile.value_gradient[more], shares_turned, y, v, more);
    }
    return tile;
  }

  int64_t sample_elements(size_t operand) const {
    return (operand == 0 ? shape_.queries : shape_.keys) * shape_.row[operand];
  }
  int64_t head_at(size_t operand, int64_t sample, int64_t head) const {
    return sample * sample_elements(operand) + shape_.begin[operand] +
           head * (operand == 2 ? shape_.value_size : shape_.size);
  }
  Head head_of(std::span<const float* const> inputs, int64_t sample, int64_t head) const {
    const int64_t key_head = head / shape_.heads_per_key();
    return {inputs[0] + head_at(0, sample, head),
            inputs[shape_.packed ? 0 : 1] + head_at(1, sample, key_head),
            inputs[shape_.packed ? 0 : 2] + head_at(2, sample, key_head)};
  }
  float* gradient_at(const OpBackward& run, size_t operand, int64_t sample, int64_t head) const {
    float* const gradient = run.input_gradients[shape_.packed ? 0 : operand];
    return gradient ? gradient + head_at(operand, sample, head) : nullptr;
  }
  int64_t output_at(int64_t sample, int64_t head, int64_t query) const {
    return ((sample * shape_.queries + query) * shape_.heads + head) * shape_.value_size;
  }
  RowSoftmax* kept(std::byte* saved, int64_t sample, int64_t head) const {
    return reinterpret_cast<RowSoftmax*>(saved) + (sample * shape_.heads + head) * shape_.queries;
  }

  AttentionShape shape_;
  int64_t samples_;
  std::vector<Tile> tiles_;
  size_t shares_ = 0, gradients_ = 0, pad_ = 0;
};

}  // namespace

Shape infer_attention(const OpSpec& spec) {
  const AttentionShape shape(spec);
  return {shape.queries, shape.heads * shape.value_size};
}

std::unique_ptr<Op> make_attention(const OpSpec& spec) {
  return std::make_unique<AttentionOp>(spec);
}

}  // namespace lepton::ops
