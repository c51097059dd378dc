// SPDX-License-Identifier: Apache-2.0
// Attention (Vaswani et al. 2017): softmax(scale Q K^T) V for each head, all keys or, causal, those up to the
// query; with lengths those before the sample's end alone, and nothing behind it is computed; with a mask
// those where it is not 0. Scores exist for a tile of queries at a time, so memory is linear in the sequence;
// backward makes them again from what forward keeps of each row, its largest score and its sum (as Dao et
// al. 2022). With P the softmax and O = P V:
//   dV = P^T dO,   dP = dO V^T,   dS = scale P (dP - rowsum(dP P)),   dQ = dS K,   dK = dS^T Q.
// Products are our own (ops/small_product), in fp32 whatever the network's precision: they are small, and of
// a causal one half is left out. Made by the table, run by model/executor. Twin: kernels/attention.cu.
#include <algorithm>
#include <limits>

#include "base/simd.h"
#include "ops/attention_shape.h"
#include "ops/lane_sum.h"
#include "ops/math.h"
#include "ops/operators.h"
#include "ops/small_product.h"
#include "ops/transpose.h"

namespace lepton::ops {

namespace {

// Of queries: their scores with 1,024 keys stay in the second-level cache.
constexpr int64_t tile_queries = 64;

/// What is kept of a row of scores: p = e^(scale s - shift) share.
struct RowSoftmax {
  float shift, share;
};

/// Elements of a row in whole vectors, as far as the row goes.
[[gnu::always_inline]] inline int64_t whole(int64_t count, int64_t keys) {
  return std::min(keys, (count + sum_lanes - 1) / sum_lanes * sum_lanes);
}

/// The largest of `count` numbers; NaN is passed over, and comes out by the sum.
[[gnu::always_inline]] inline float largest_of(int64_t count, const float* x) {
  float largest[sum_lanes];
  std::fill_n(largest, sum_lanes, x[0]);
  int64_t i = 0;
  for (; i + sum_lanes <= count; i += sum_lanes)
    for (int64_t k = 0; k < sum_lanes; ++k) largest[k] = x[i + k] > largest[k] ? x[i + k] : largest[k];
  for (int64_t k = 0; i + k < count; ++k) largest[k] = x[i + k] > largest[k] ? x[i + k] : largest[k];
  for (int64_t half = sum_lanes / 2; half > 0; half /= 2)
    for (int64_t k = 0; k < half; ++k)
      largest[k] = largest[k + half] > largest[k] ? largest[k + half] : largest[k];
  return largest[0];
}

/// Rows of queries with their scores for the first keys of a sample, and what they may see of those.
struct ScoreRows {
  int64_t rows, keys;
  int64_t first;  ///< causal: keys that row 0 sees, row r sees r more
  bool causal;
  float scale;
  const float* mask;  ///< of the keys, 0 where nobody sees one; null: none

  [[gnu::always_inline]] int64_t seen_by(int64_t r) const {
    return causal ? std::min(keys, first + r) : keys;
  }
};

constexpr float no_score = -std::numeric_limits<float>::infinity();

bool hides_all(const float* mask, int64_t keys) {
  return mask && std::all_of(mask, mask + keys, [](float shown) { return shown == 0; });
}

/// Scores to shares; keys that a row does not see get 0.
LEPTON_SIMD void softmax_rows(const ScoreRows& of, float* s, RowSoftmax* kept) {
  const float* const mask = of.mask;
  for (int64_t r = 0; r < of.rows; ++r) {
    float* row = s + r * of.keys;
    const int64_t count = of.seen_by(r), end = whole(count, of.keys);
    if (mask)
      for (int64_t i = 0; i < end; ++i) row[i] = mask[i] != 0 ? row[i] * of.scale : no_score;
    else
      for (int64_t i = 0; i < end; ++i) row[i] *= of.scale;
    std::fill(row + count, row + end, no_score);
    const float shift = largest_of(end, row);
    if (shift == no_score && hides_all(mask, count)) {
      std::fill(row, row + of.keys, 0.0f);
      if (kept) kept[r] = {-no_score, 0.0f};
      continue;
    }
    for (int64_t i = 0; i < end; ++i) row[i] = math::exp(row[i] - shift);
    const float share = 1.0f / lane_sum(
                                   end, [=](int64_t i) __attribute__((always_inline)) { return row[i]; });
    for (int64_t i = 0; i < end; ++i) row[i] *= share;
    std::fill(row + end, row + of.keys, 0.0f);
    if (kept) kept[r] = {shift, share};
  }
}

/// The same from what was kept.
LEPTON_SIMD void softmax_rows_again(const ScoreRows& of, const RowSoftmax* kept, float* s) {
  const float* const mask = of.mask;
  for (int64_t r = 0; r < of.rows; ++r) {
    float* row = s + r * of.keys;
    const int64_t count = of.seen_by(r), end = whole(count, of.keys);
    const float shift = kept[r].shift, share = kept[r].share;
    for (int64_t i = 0; i < end; ++i) row[i] = math::exp(row[i] * of.scale - shift) * share;
    if (mask)
      for (int64_t i = 0; i < end; ++i) row[i] = mask[i] != 0 ? row[i] : 0.0f;
    std::fill(row + count, row + of.keys, 0.0f);
  }
}

/// dP to dS, in place; of keys that the query does not see, 0.
LEPTON_SIMD void score_gradients(const ScoreRows& of, const float* p, float* dp) {
  for (int64_t r = 0; r < of.rows; ++r) {
    const float* share = p + r * of.keys;
    float* row = dp + r * of.keys;
    const int64_t count = of.seen_by(r), end = whole(count, of.keys);
    std::fill(row + count, row + of.keys, 0.0f);
    const float mean = lane_sum(
        end, [=](int64_t i) __attribute__((always_inline)) { return row[i] * share[i]; });
    for (int64_t i = 0; i < end; ++i) row[i] = of.scale * (share[i] * (row[i] - mean));
  }
}

class AttentionOp : public Op {
 public:
  explicit AttentionOp(const OpSpec& spec) : shape_(spec), samples_(spec.samples) {
    const AttentionShape& s = shape_;
    MemoryPlan saved, scratch;
    if (spec.training) saved.add(static_cast<size_t>(samples_ * s.heads * s.queries) * sizeof(RowSoftmax));
    saved_bytes_ = saved.bytes();
    const int64_t tile = std::min(tile_queries, s.queries) * s.keys;
    shares_ = scratch.add_floats(tile);
    keys_turned_ = scratch.add_floats(s.keys * s.size);
    gradients_ = scratch.add_floats(spec.training ? tile : 0);
    values_turned_ = scratch.add_floats(spec.training ? s.keys * s.value_size : 0);
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override {
    const AttentionShape& s = shape_;
    float *shares = floats_at(run.scratch, shares_), *turned = floats_at(run.scratch, keys_turned_);
    for (int64_t sample = 0; sample < samples_; ++sample) {
      const Extent extent = extent_of(run.inputs, sample);
      const int64_t row = s.heads * s.value_size;
      std::fill_n(run.output + output_at(sample, 0, extent.queries), (s.queries - extent.queries) * row,
                  0.0f);
      for (int64_t head = 0; head < s.heads; ++head) {
        const Head h = head_of(run.inputs, sample, head);
        if (head % s.heads_per_key() == 0) transpose(extent.keys, s.size, h.k, s.row[1], turned);
        for (int64_t first = 0; first < extent.queries; first += tile_queries) {
          const Tile tile = tile_at(extent, first);
          compare(tile, s.size, h.q + first * s.row[0], s.row[0], turned, shares);
          softmax_rows(score_rows(tile, h), shares,
                       saved_bytes_ > 0 ? kept(run.saved, sample, head) + first : nullptr);
          gather(tile, shares, s.value_size, h.v, s.row[2], run.output + output_at(sample, head, first), row);
        }
      }
    }
  }

  void backward(const OpBackward& run) override {
    const AttentionShape& s = shape_;
    float *keys_turned = floats_at(run.scratch, keys_turned_),
          *values_turned = floats_at(run.scratch, values_turned_);
    CHECK(!(s.lengths || s.mask) || !run.input_gradients.back(), "lengths and masks have no gradient");
    for (int64_t sample = 0; sample < samples_; ++sample) {
      const Extent extent = extent_of(run.inputs, sample);
      clear_behind(run, sample, extent);
      for (int64_t head = 0; head < s.heads && extent.keys > 0; ++head) {
        const Head h = head_of(run.inputs, sample, head);
        if (head % s.heads_per_key() == 0) {
          transpose(extent.keys, s.size, h.k, s.row[1], keys_turned);
          transpose(extent.keys, s.value_size, h.v, s.row[2], values_turned);
        }
        // The last tile sees all keys, so it comes first, and the others add to what it gave.
        bool more = head % s.heads_per_key() > 0;  // to what another head of these keys gave
        for (int64_t first = (extent.queries - 1) / tile_queries * tile_queries; first >= 0;
             first -= tile_queries) {
          backward_tile(run, sample, head, h, tile_at(extent, first), more);
          more = true;
        }
      }
    }
  }

  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  struct Head {
    const float *q, *k, *v;
    const float* mask;  ///< of the sample, or null
  };

  /// What counts of a sample, and whose keys and values lie turned: rows as long as there are keys.
  struct Extent {
    int64_t queries, keys;
  };
  Extent extent_of(std::span<const float* const> inputs, int64_t sample) const {
    if (!shape_.lengths) return {shape_.queries, shape_.keys};
    const float length = inputs.back()[sample];
    return {shape_.queries_of(length), shape_.keys_of(length)};
  }
  /// Gradients of what does not count.
  void clear_behind(const OpBackward& run, int64_t sample, const Extent& extent) const {
    const AttentionShape& s = shape_;
    for (size_t operand = 0; operand < 3; ++operand) {
      const int64_t rows = operand == 0 ? s.queries : s.keys;
      const int64_t width = operand == 0   ? s.heads * s.size
                            : operand == 1 ? s.key_heads * s.size
                                           : s.key_heads * s.value_size;
      float* const gradient = gradient_at(run, operand, sample, 0);
      for (int64_t row = operand == 0 ? extent.queries : extent.keys; gradient && row < rows; ++row)
        std::fill_n(gradient + row * s.row[operand], width, 0.0f);
    }
  }

  /// Queries of which scores exist at a time, and the keys that they see, of so many.
  struct Tile {
    int64_t first, rows, keys, keys_turned;
  };
  Tile tile_at(const Extent& extent, int64_t first) const {
    const int64_t rows = std::min(tile_queries, extent.queries - first);
    return {first, rows, shape_.causal ? std::min(first + rows, extent.keys) : extent.keys, extent.keys};
  }

  ScoreRows score_rows(const Tile& tile, const Head& head) const {
    return {tile.rows, tile.keys, tile.first + 1, shape_.causal, shape_.scale, head.mask};
  }

  Triangle left(Triangle triangle) const { return shape_.causal ? triangle : Triangle::none; }

  /// What rows of queries have in common with rows of keys, which lie turned: [queries, keys].
  void compare(const Tile& tile, int64_t width, const float* queries, int64_t query_row, const float* keys,
               float* to) const {
    multiply({.rows = tile.rows,
              .columns = tile.keys,
              .inner = width,
              .a = queries,
              .a_row = query_row,
              .a_inner = 1,
              .b = keys,
              .b_inner = tile.keys_turned,
              .c = to,
              .c_row = tile.keys,
              .triangle = left(Triangle::columns),
              .first = tile.first});
  }
  /// What queries get from rows of keys, each weighted: [queries, width].
  void gather(const Tile& tile, const float* weights, int64_t width, const float* keys, int64_t key_row,
              float* to, int64_t to_row) const {
    multiply({.rows = tile.rows,
              .columns = width,
              .inner = tile.keys,
              .a = weights,
              .a_row = tile.keys,
              .a_inner = 1,
              .b = keys,
              .b_inner = key_row,
              .c = to,
              .c_row = to_row,
              .triangle = left(Triangle::inner_up),
              .first = tile.first});
  }
  /// What queries give back to rows of keys, each weighted: [keys, width], added to what is there if `more`.
  void scatter(const Tile& tile, const float* weights, int64_t width, const float* queries, int64_t query_row,
               float* to, int64_t to_row, bool more) const {
    multiply({.rows = tile.keys,
              .columns = width,
              .inner = tile.rows,
              .a = weights,
              .a_row = 1,
              .a_inner = tile.keys,
              .b = queries,
              .b_inner = query_row,
              .c = to,
              .c_row = to_row,
              .accumulate = more,
              .triangle = left(Triangle::inner_down),
              .first = tile.first});
  }

  void backward_tile(const OpBackward& run, int64_t sample, int64_t head, const Head& h, const Tile& tile,
                     bool more) const {
    const AttentionShape& s = shape_;
    const int64_t first = tile.first;
    float *shares = floats_at(run.scratch, shares_), *gradients = floats_at(run.scratch, gradients_);
    const float *q = h.q + first * s.row[0], *dy = run.output_gradient + output_at(sample, head, first);
    const int64_t dy_row = s.heads * s.value_size, key_head = head / s.heads_per_key();
    compare(tile, s.size, q, s.row[0], floats_at(run.scratch, keys_turned_), shares);
    const ScoreRows rows = score_rows(tile, h);
    softmax_rows_again(rows, kept(run.saved, sample, head) + first, shares);
    if (float* dv = gradient_at(run, 2, sample, key_head))
      scatter(tile, shares, s.value_size, dy, dy_row, dv, s.row[2], more);
    float *const dq = gradient_at(run, 0, sample, head), *const dk = gradient_at(run, 1, sample, key_head);
    if (!dq && !dk) return;
    compare(tile, s.value_size, dy, dy_row, floats_at(run.scratch, values_turned_), gradients);
    score_gradients(rows, shares, gradients);
    if (dk) scatter(tile, gradients, s.size, q, s.row[0], dk, s.row[1], more);
    if (dq) gather(tile, gradients, s.size, h.k, s.row[1], dq + first * s.row[0], s.row[0]);
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
            inputs[shape_.packed ? 0 : 2] + head_at(2, sample, key_head),
            shape_.mask ? inputs.back() + sample * shape_.keys : nullptr};
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
  size_t shares_ = 0, gradients_ = 0, keys_turned_ = 0, values_turned_ = 0;
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
