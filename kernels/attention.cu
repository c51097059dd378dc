// SPDX-License-Identifier: Apache-2.0
// Attention (Vaswani et al. 2017), the twin of src/ops/attention.cpp; formulas there. Our own kernels,
// because every sum must have an order that depends on shapes alone. A warp owns a query (forward, dQ) or a
// key (dK, dV) and takes the others 32 at a time: each lane makes the score of one, then all lanes add up
// columns, one other after the other. Scores are made again wherever they are needed, so memory is linear in
// the sequence; what is kept of each row of scores is its largest one and its sum. What lies behind a
// sample's length is not looked at; a warp that owns such a row writes zeros. Keys that a mask hides have no
// share. Created by make_attention, for kernels/engine.cu.
#include <limits>

#include "kernels/operators.h"
#include "ops/attention_shape.h"
#include "ops/math.h"
#include "ops/operators.h"

namespace lepton::cuda {

namespace {

constexpr int query_warps = 4, query_threads = warp * query_warps;
constexpr int columns = 4;  // of an accumulator, per lane

/// p = e^(scale s - shift) share.
struct RowSoftmax {
  float shift, share;
};

/// Whole, or of one head of one sample. Lengths of all samples, or null; masks of all or of one, or null.
struct Operands {
  const float *q, *k, *v, *lengths, *mask;

  __device__ bool shows(int64_t key) const { return !mask || mask[key] != 0; }
};

/// What counts of a sample.
struct Extent {
  int64_t queries, keys;
};
__device__ Extent extent_of(const ops::AttentionShape& s, const Operands& o, int64_t sample) {
  if (!o.lengths) return {s.queries, s.keys};
  return {s.queries_of(o.lengths[sample]), s.keys_of(o.lengths[sample])};
}

__device__ Operands head_of(const ops::AttentionShape& s, const Operands& o, int64_t sample, int64_t head) {
  const int64_t of_keys = head / (s.heads / s.key_heads);
  return {o.q + sample * s.queries * s.row[0] + s.begin[0] + head * s.size,
          o.k + sample * s.keys * s.row[1] + s.begin[1] + of_keys * s.size,
          o.v + sample * s.keys * s.row[2] + s.begin[2] + of_keys * s.value_size, nullptr,
          o.mask ? o.mask + sample * s.keys : nullptr};
}

__device__ float dot(int64_t count, const float* a, const float* b) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

__device__ float largest_of_warp(float value) {
  for (int distance = warp / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(all_lanes, value, distance);
    value = other > value ? other : value;
  }
  return value;
}
__device__ float sum_of_warp(float value) {
  for (int distance = warp / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(all_lanes, value, distance);
  return value;
}

/// sum[k] += of[lane'] * row(lane')[first + 32 k + lane], for the lanes' in turn.
template <class Row>
__device__ void add_rows(int64_t here, float share, int64_t first, int64_t width, const Row& row,
                         float (&sum)[columns]) {
  const int lane = threadIdx.x % warp;
  for (int i = 0; i < here; ++i) {
    const float weight = __shfl_sync(all_lanes, share, i);
    const float* from = row(i);
#pragma unroll
    for (int k = 0; k < columns; ++k) {
      const int64_t c = first + k * warp + lane;
      if (c < width) sum[k] += weight * from[c];
    }
  }
}

__device__ void store(float* to, int64_t first, int64_t width, const float (&sum)[columns]) {
#pragma unroll
  for (int k = 0; k < columns; ++k) {
    const int64_t c = first + k * warp + threadIdx.x % warp;
    if (c < width) to[c] = sum[k];
  }
}

__device__ void store_zeros(float* to, int64_t width) {
  for (int64_t c = threadIdx.x % warp; c < width; c += warp) to[c] = 0;
}

/// What this warp owns: a row (query or key) of a head of a sample; `number` counts them.
struct Place {
  int64_t number, row, head, sample;
};
__device__ Place place_of_warp(int64_t rows, int64_t heads) {
  const int64_t number = static_cast<int64_t>(blockIdx.x) * query_warps + threadIdx.x / warp;
  return {number, number % rows, number / rows % heads, number / rows / heads};
}

/// Where the output of a query begins, or its gradient.
__device__ int64_t output_at(const ops::AttentionShape& s, int64_t sample, int64_t head, int64_t query) {
  return ((sample * s.queries + query) * s.heads + head) * s.value_size;
}

__global__ void __launch_bounds__(query_threads)
    attention_forward(int64_t rows, ops::AttentionShape s, Operands o, float* __restrict__ y,
                      RowSoftmax* __restrict__ kept) {
  const auto [number, query, head, sample] = place_of_warp(s.queries, s.heads);
  if (number >= rows) return;  // whole warps
  const int lane = threadIdx.x % warp;
  const Extent extent = extent_of(s, o, sample);
  float* out = y + output_at(s, sample, head, query);
  if (query >= extent.queries) {
    if (kept && lane == 0) kept[number] = {std::numeric_limits<float>::infinity(), 0.0f};
    return store_zeros(out, s.value_size);
  }
  const Operands h = head_of(s, o, sample, head);
  const float* q = h.q + query * s.row[0];
  const int64_t keys = s.causal ? min(query + 1, extent.keys) : extent.keys;
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t j = lane; j < keys; j += warp) {
    if (!h.shows(j)) continue;
    const float score = dot(s.size, q, h.k + j * s.row[1]);
    largest = score > largest ? score : largest;
  }
  const float shift = largest_of_warp(largest) * s.scale;
  float sum = 0;
  for (int64_t j = lane; j < keys; j += warp)
    if (h.shows(j)) sum += ops::math::exp(dot(s.size, q, h.k + j * s.row[1]) * s.scale - shift);
  sum = sum_of_warp(sum);
  if (h.mask && sum == 0) {  // it sees nothing
    if (kept && lane == 0) kept[number] = {std::numeric_limits<float>::infinity(), 0.0f};
    return store_zeros(out, s.value_size);
  }
  const float share = 1.0f / sum;
  if (kept && lane == 0) kept[number] = {shift, share};
  for (int64_t first = 0; first < s.value_size; first += columns * warp) {
    float result[columns] = {};
    for (int64_t base = 0; base < keys; base += warp) {
      const int64_t j = base + lane;
      const float p = j < keys && h.shows(j)
                          ? ops::math::exp(dot(s.size, q, h.k + j * s.row[1]) * s.scale - shift) * share
                          : 0.0f;
      const auto row = [&](int i) { return h.v + (base + i) * s.row[2]; };
      add_rows(min(keys - base, int64_t{warp}), p, first, s.value_size, row, result);
    }
    store(out, first, s.value_size, result);
  }
}

/// means[query] = sum over keys of dP P, which is the product of dO and O.
__global__ void __launch_bounds__(query_threads)
    attention_means(int64_t rows, ops::AttentionShape s, const float* __restrict__ y,
                    const float* __restrict__ dy, float* __restrict__ means) {
  const auto [number, query, head, sample] = place_of_warp(s.queries, s.heads);
  if (number >= rows) return;
  const int64_t at = output_at(s, sample, head, query);
  float sum = 0;
  for (int64_t c = threadIdx.x % warp; c < s.value_size; c += warp) sum += dy[at + c] * y[at + c];
  sum = sum_of_warp(sum);
  if (threadIdx.x % warp == 0) means[number] = sum;
}

/// P and dS of one query and one key.
struct Pair {
  float share, gradient;
};
__device__ Pair pair_of(const ops::AttentionShape& s, const float* q, const float* k, const float* v,
                        const float* dy, const RowSoftmax& row, float mean) {
  const float p = ops::math::exp(dot(s.size, q, k) * s.scale - row.shift) * row.share;
  return {p, s.scale * (p * (dot(s.value_size, dy, v) - mean))};
}

__global__ void __launch_bounds__(query_threads)
    query_gradient(int64_t rows, ops::AttentionShape s, Operands o, const float* __restrict__ dy,
                   const RowSoftmax* __restrict__ kept, const float* __restrict__ means,
                   float* __restrict__ dq) {
  const auto [number, query, head, sample] = place_of_warp(s.queries, s.heads);
  if (number >= rows) return;
  const int lane = threadIdx.x % warp;
  const Operands h = head_of(s, o, sample, head);
  const float* q = h.q + query * s.row[0];
  const float* d = dy + output_at(s, sample, head, query);
  float* out = dq + (h.q - o.q) + query * s.row[0];
  const Extent extent = extent_of(s, o, sample);
  if (query >= extent.queries) return store_zeros(out, s.size);
  const int64_t keys = s.causal ? min(query + 1, extent.keys) : extent.keys;
  for (int64_t first = 0; first < s.size; first += columns * warp) {
    float result[columns] = {};
    for (int64_t base = 0; base < keys; base += warp) {
      const int64_t j = base + lane;
      const float gradient =
          j < keys && h.shows(j)
              ? pair_of(s, q, h.k + j * s.row[1], h.v + j * s.row[2], d, kept[number], means[number]).gradient
              : 0.0f;
      const auto row = [&](int i) { return h.k + (base + i) * s.row[1]; };
      add_rows(min(keys - base, int64_t{warp}), gradient, first, s.size, row, result);
    }
    store(out, first, s.size, result);
  }
}

/// dK with `of_keys`, else dV: over the queries of all heads that a key head serves. Those behind a sample's
/// length have no share (attention_forward), keys there are cleared by clear_keys.
template <bool of_keys>
__global__ void __launch_bounds__(query_threads)
    key_gradient(int64_t rows, ops::AttentionShape s, Operands o, const float* __restrict__ dy,
                 const RowSoftmax* __restrict__ kept, const float* __restrict__ means,
                 float* __restrict__ out) {
  const auto [number, key, key_head, sample] = place_of_warp(s.keys, s.key_heads);
  if (number >= rows) return;
  const int lane = threadIdx.x % warp;
  const int64_t group = s.heads / s.key_heads, width = of_keys ? s.size : s.value_size;
  const int64_t from = s.causal ? key / warp * warp : 0;  // no query before sees the key
  for (int64_t first = 0; first < width; first += columns * warp) {
    float result[columns] = {};
    for (int64_t head = key_head * group; head < (key_head + 1) * group; ++head) {
      const Operands h = head_of(s, o, sample, head);
      const int64_t row_of_head = (sample * s.heads + head) * s.queries;
      const auto gradient_of = [&](int64_t query) { return dy + output_at(s, sample, head, query); };
      for (int64_t base = from; base < s.queries; base += warp) {
        const int64_t i = base + lane;
        Pair pair = {};
        if (i < s.queries && (!s.causal || i >= key) && h.shows(key))
          pair = pair_of(s, h.q + i * s.row[0], h.k + key * s.row[1], h.v + key * s.row[2], gradient_of(i),
                         kept[row_of_head + i], means[row_of_head + i]);
        const auto row = [&](int r) { return of_keys ? h.q + (base + r) * s.row[0] : gradient_of(base + r); };
        add_rows(min(s.queries - base, int64_t{warp}), of_keys ? pair.gradient : pair.share, first, width,
                 row, result);
      }
    }
    const size_t operand = of_keys ? 1 : 2;
    store(out + (sample * s.keys + key) * s.row[operand] + s.begin[operand] + key_head * width, first, width,
          result);
  }
}

/// Zeros for the keys (dK with `of_keys`, else dV) behind a sample's length.
template <bool of_keys>
__global__ void __launch_bounds__(query_threads)
    clear_keys(int64_t rows, ops::AttentionShape s, Operands o, float* __restrict__ out) {
  const auto [number, key, key_head, sample] = place_of_warp(s.keys, s.key_heads);
  if (number >= rows || key < extent_of(s, o, sample).keys) return;
  constexpr size_t operand = of_keys ? 1 : 2;
  const int64_t width = of_keys ? s.size : s.value_size;
  store_zeros(out + (sample * s.keys + key) * s.row[operand] + s.begin[operand] + key_head * width, width);
}

class AttentionOp : public ops::Op {
 public:
  AttentionOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        shape_(spec),
        rows_(spec.samples * shape_.heads * shape_.queries),
        key_rows_(spec.samples * shape_.key_heads * shape_.keys) {
    if (!spec.training) return;
    ops::MemoryPlan saved, scratch;
    saved.add(static_cast<size_t>(rows_) * sizeof(RowSoftmax));
    saved_bytes_ = saved.bytes();
    scratch.add_floats(rows_);
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const ops::OpForward& run) override {
    auto* kept = saved_bytes_ > 0 ? reinterpret_cast<RowSoftmax*>(run.saved) : nullptr;
    attention_forward<<<blocks_for(rows_, query_warps), query_threads, 0, context_.stream>>>(
        rows_, shape_, operands(run.inputs), run.output, kept);
    check_launch("attention_forward");
  }

  void backward(const ops::OpBackward& run) override {
    CHECK(!(shape_.lengths || shape_.mask) || !run.input_gradients.back(),
          "lengths and masks have no gradient");
    const Operands o = operands(run.inputs);
    const auto* kept = reinterpret_cast<const RowSoftmax*>(run.saved);
    float* means = ops::floats_at(run.scratch, 0);
    const float* dy = run.output_gradient;
    attention_means<<<blocks_for(rows_, query_warps), query_threads, 0, context_.stream>>>(
        rows_, shape_, run.output, dy, means);
    check_launch("attention_means");
    if (float* dq = gradient(run, 0)) {
      query_gradient<<<blocks_for(rows_, query_warps), query_threads, 0, context_.stream>>>(
          rows_, shape_, o, dy, kept, means, dq);
      check_launch("query_gradient");
    }
    const unsigned blocks = blocks_for(key_rows_, query_warps);
    if (float* dk = gradient(run, 1)) {
      key_gradient<true>
          <<<blocks, query_threads, 0, context_.stream>>>(key_rows_, shape_, o, dy, kept, means, dk);
      check_launch("key_gradient");
      if (o.lengths)
        clear_keys<true><<<blocks, query_threads, 0, context_.stream>>>(key_rows_, shape_, o, dk);
      check_launch("clear_keys");
    }
    if (float* dv = gradient(run, 2)) {
      key_gradient<false>
          <<<blocks, query_threads, 0, context_.stream>>>(key_rows_, shape_, o, dy, kept, means, dv);
      check_launch("value_gradient");
      if (o.lengths)
        clear_keys<false><<<blocks, query_threads, 0, context_.stream>>>(key_rows_, shape_, o, dv);
      check_launch("clear_keys");
    }
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = true, .output = true}; }

 private:
  Operands operands(std::span<const float* const> inputs) const {
    return {inputs[0], inputs[shape_.packed ? 0 : 1], inputs[shape_.packed ? 0 : 2],
            shape_.lengths ? inputs.back() : nullptr, shape_.mask ? inputs.back() : nullptr};
  }
  float* gradient(const ops::OpBackward& run, size_t operand) const {
    return run.input_gradients[shape_.packed ? 0 : operand];
  }

  const Context& context_;
  ops::AttentionShape shape_;
  int64_t rows_, key_rows_;
};

}  // namespace

std::unique_ptr<ops::Op> make_attention(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<AttentionOp>(context, spec);
}

}  // namespace lepton::cuda
