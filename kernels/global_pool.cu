// SPDX-License-Identifier: Apache-2.0
// GlobalAveragePool and GlobalMaxPool, channels last, the twins of src/ops/global_pool.cpp. A mean adds its
// pixels in strands whose number depends on the shape alone; a maximum is found by a thread for each sample
// and channel that goes over the pixels in order: the first of equal ones takes the gradient, NaN wins. What
// lies behind a sample's length is not looked at and gets zeros.
// Created by make_global_average_pool and make_global_max_pool, for kernels/engine.cu.
#include "kernels/operators.h"
#include "kernels/pack.h"
#include "ops/operators.h"
#include "ops/sequence_length.h"

namespace lepton::cuda {

namespace {

/// How many pixels of a sample count; without lengths all do.
__device__ int64_t counted_pixels(const float* lengths, int64_t sample, int64_t pixels) {
  return lengths ? ops::sequence_length(lengths[sample], pixels) : pixels;
}
__device__ float share_of(int64_t count) {
  return 1.0f / static_cast<float>(count > 0 ? count : 1);
}

// y[s, c] = sum over pixels of x[s, p, c] / pixels. A block has `lanes` threads across channels times
// `strands` threads down the pixels of one sample; strands are joined pairwise.
template <int width>
__global__ void __launch_bounds__(threads)
    global_pool(int64_t tiles, int64_t pixels, int64_t channels, const float* __restrict__ lengths,
                const float* __restrict__ input, float* __restrict__ output) {
  __shared__ float parts[width][threads];
  const int64_t sample = blockIdx.x / tiles, tile = blockIdx.x - sample * tiles;
  const int64_t channel = (tile * blockDim.x + threadIdx.x) * width;
  const int64_t count = counted_pixels(lengths, sample, pixels);
  const unsigned lanes = blockDim.x, me = threadIdx.y * lanes + threadIdx.x;
  Pack<float, width> sum{};
  if (channel < channels) {
    const float* from = input + sample * pixels * channels + channel;
#pragma unroll 4
    for (int64_t p = threadIdx.y; p < count; p += blockDim.y) {
      const auto in = load<width>(from + p * channels);
      for (int k = 0; k < width; ++k) sum.v[k] += in.v[k];
    }
  }
  for (int k = 0; k < width; ++k) parts[k][me] = sum.v[k];
  __syncthreads();
  for (unsigned live = blockDim.y; live > 1;) {
    const unsigned half = (live + 1) / 2;
    if (threadIdx.y + half < live)
      for (int k = 0; k < width; ++k) parts[k][me] += parts[k][me + half * lanes];
    __syncthreads();
    live = half;
  }
  if (threadIdx.y != 0 || channel >= channels) return;
  for (int k = 0; k < width; ++k) sum.v[k] = parts[k][me] * share_of(count);
  store<width>(output + sample * channels + channel, sum);
}

template <int width>
__global__ void __launch_bounds__(threads)
    global_pool_backward(int64_t packs, int64_t pixels, int64_t channels, const float* __restrict__ lengths,
                         const float* __restrict__ dy, float* __restrict__ dx) {
  const int64_t groups = channels / width, step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < packs; i += step) {
    const int64_t pixel = i / groups, channel = (i - pixel * groups) * width, sample = pixel / pixels;
    const int64_t count = counted_pixels(lengths, sample, pixels);
    const bool counts = pixel - sample * pixels < count;
    Pack<float, width> pack = load<width>(dy + sample * channels + channel);
    for (int k = 0; k < width; ++k) pack.v[k] = counts ? pack.v[k] * share_of(count) : 0.0f;
    store<width>(dx + i * width, pack);
  }
}

/// Those of each sample, or null.
const float* lengths_in(std::span<const float* const> inputs) {
  return inputs.size() > 1 ? inputs[1] : nullptr;
}
void check_gradients(const ops::OpBackward& run) {
  CHECK(run.input_gradients.size() < 2 || !run.input_gradients[1], "lengths have no gradient");
}

class GlobalAveragePoolOp : public ops::Op {
 public:
  GlobalAveragePoolOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        n_(spec.samples),
        channels_(spec.inputs[0][0]),
        pixels_(element_count(spec.inputs[0]) / channels_),
        lengths_(spec.inputs.size() > 1) {
    const int64_t groups = channels_ % 4 == 0 ? channels_ / 4 : channels_, tiles = (groups + 31) / 32;
    lanes_ = static_cast<int>((groups + tiles - 1) / tiles);
    strands_ = static_cast<int>(std::min<int64_t>(threads / lanes_, pixels_));
  }

  void forward(const ops::OpForward& run) override {
    const float* x = run.inputs[0];
    float* y = run.output;
    with_width(channels_ % 4 == 0 && is_aligned(x) && is_aligned(y), [&](auto width) {
      const int64_t tiles = blocks_for(channels_, lanes_ * width);
      global_pool<width><<<static_cast<unsigned>(n_ * tiles), dim3(lanes_, strands_), 0, context_.stream>>>(
          tiles, pixels_, channels_, lengths_in(run.inputs), x, y);
    });
    check_launch("global_pool");
  }

  void backward(const ops::OpBackward& run) override {
    check_gradients(run);
    const float* dy = run.output_gradient;
    float* dx = run.input_gradients[0];
    if (!dx) return;
    with_width(channels_ % 4 == 0 && is_aligned(dy) && is_aligned(dx), [&](auto width) {
      const int64_t count = n_ * pixels_ * channels_ / width;
      global_pool_backward<width><<<resident_blocks(context_, count, threads), threads, 0, context_.stream>>>(
          count, pixels_, channels_, lengths_in(run.inputs), dy, dx);
    });
    check_launch("global_pool_backward");
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = lengths_, .output = false}; }

 private:
  const Context& context_;
  int64_t n_, channels_, pixels_;
  bool lengths_;
  int lanes_ = 1, strands_ = 1;
};

// `places` is null where no backward will follow; a place of -1: nothing counts.
__global__ void largest_pixels(int64_t count, int64_t pixels, int64_t channels, const float* lengths,
                               const float* x, float* y, int32_t* places) {
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * threads) {
    const float* from = x + i / channels * pixels * channels + i % channels;
    const int64_t counted = counted_pixels(lengths, i / channels, pixels);
    float best = counted > 0 ? from[0] : 0.0f;
    int32_t place = counted > 0 ? 0 : -1;
    for (int64_t p = 1; p < counted; ++p) {
      const float value = from[p * channels];
      const bool takes = value > best || value != value;
      best = takes ? value : best;
      place = takes ? static_cast<int32_t>(p) : place;
    }
    y[i] = best;
    if (places) places[i] = place;
  }
}

// Into zeros.
__global__ void give_back(int64_t count, int64_t pixels, int64_t channels, const int32_t* places,
                          const float* dy, float* dx) {
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < count; i += int64_t{gridDim.x} * threads)
    if (places[i] >= 0) dx[(i / channels * pixels + places[i]) * channels + i % channels] = dy[i];
}

class GlobalMaxPoolOp : public ops::Op {
 public:
  GlobalMaxPoolOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        channels_(spec.inputs[0][0]),
        pixels_(element_count(spec.inputs[0]) / channels_),
        count_(spec.samples * channels_),
        training_(spec.training) {
    ops::MemoryPlan saved;
    if (training_) saved.add(static_cast<size_t>(count_) * sizeof(int32_t));
    saved_bytes_ = saved.bytes();
  }

  void forward(const ops::OpForward& run) override {
    auto* places = training_ ? reinterpret_cast<int32_t*>(run.saved) : nullptr;
    largest_pixels<<<resident_blocks(context_, count_, threads), threads, 0, context_.stream>>>(
        count_, pixels_, channels_, lengths_in(run.inputs), run.inputs[0], run.output, places);
    check_launch("largest_pixels");
  }

  void backward(const ops::OpBackward& run) override {
    check_gradients(run);
    float* dx = run.input_gradients[0];
    if (!dx) return;
    check(cudaMemsetAsync(dx, 0, static_cast<size_t>(count_ * pixels_) * sizeof(float), context_.stream),
          "cudaMemsetAsync");
    give_back<<<resident_blocks(context_, count_, threads), threads, 0, context_.stream>>>(
        count_, pixels_, channels_, reinterpret_cast<const int32_t*>(run.saved), run.output_gradient, dx);
    check_launch("give_back");
  }

  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  const Context& context_;
  int64_t channels_, pixels_, count_;
  bool training_;
};

}  // namespace

std::unique_ptr<ops::Op> make_global_average_pool(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<GlobalAveragePoolOp>(context, spec);
}

std::unique_ptr<ops::Op> make_global_max_pool(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<GlobalMaxPoolOp>(context, spec);
}

}  // namespace lepton::cuda
