// SPDX-License-Identifier: Apache-2.0
// AveragePool and GlobalAveragePool in nhwc, the twins of src/ops/pool.cpp (count_include_pad and ceil_mode
// as there). Not cuDNN's, because windows that hang over the edge must count as on the host and every sum has
// a fixed order: a window row by row, and in backward, which gathers, the windows that contain an input
// element in the host's order, without atomics; both give the host's bits. A global pool adds its pixels in
// strands whose number depends on the shape alone. Created by make_average_pool and make_global_pool, for
// kernels/engine.cu.
#include "kernels/operators.h"
#include "kernels/pack.h"
#include "kernels/windows.h"

namespace lepton::cuda {

namespace {

constexpr int threads = 256;
constexpr int resident = 4;  // blocks on a multiprocessor: leaves each thread 64 registers, so none spill

__device__ inline float share_of(int count) {
  return 1.0f / static_cast<float>(max(count, 1));
}

// y = (sum over the taps inside) / (taps that count)
template <int width>
__global__ void __launch_bounds__(threads, resident)
    average_pool(Geometry g, bool include_pads, const float* __restrict__ input, float* __restrict__ output) {
  const int64_t groups = g.channels / width, count = g.n * g.y.out * g.x.out * groups;
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    const Place to(i, groups, width, g.y.out, g.x.out);
    Pack<float, width> sum{};
    for_taps(g, to, [&](int, int, int64_t from) {
      const auto in = load<width>(input + from);
      for (int k = 0; k < width; ++k) sum.v[k] += in.v[k];
    });
    const float share = share_of(g.y.counted(to.y, include_pads) * g.x.counted(to.x, include_pads));
    for (int k = 0; k < width; ++k) sum.v[k] *= share;
    store<width>(output + i * width, sum);
  }
}

// dx = sum over the windows that contain the element of dy / (taps that count), in order of windows
template <int width>
__global__ void __launch_bounds__(threads, resident)
    average_pool_backward(Geometry g, bool include_pads, const float* __restrict__ dy,
                          float* __restrict__ dx) {
  const int64_t groups = g.channels / width, count = g.n * g.y.size * g.x.size * groups;
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    const Place at(i, groups, width, g.y.size, g.x.size);
    Pack<float, width> sum{};
    for_windows(g, at, [&](int oy, int ox, int, int, int64_t from) {
      const float share = share_of(g.y.counted(oy, include_pads) * g.x.counted(ox, include_pads));
      const auto gradient = load<width>(dy + from);
      for (int k = 0; k < width; ++k) sum.v[k] += gradient.v[k] * share;
    });
    store<width>(dx + i * width, sum);
  }
}

class AveragePoolOp : public ops::Op {
 public:
  AveragePoolOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        shape_(spec),
        geometry_(shape_),
        include_pads_(ops::int_attribute(spec.attributes, "count_include_pad", 0) != 0) {}

  void forward(const ops::OpForward& run) override {
    const float* x = run.inputs[0];
    float* y = run.output;
    with_width(shape_.channels % 4 == 0 && is_aligned(x) && is_aligned(y), [&](auto width) {
      average_pool<width>
          <<<resident_blocks(context_, shape_.outputs() / width, threads), threads, 0, context_.stream>>>(
              geometry_, include_pads_, x, y);
    });
    check_launch("average_pool");
  }

  void backward(const ops::OpBackward& run) override {
    const float* dy = run.output_gradient;
    float* dx = run.input_gradients[0];
    if (!dx) return;
    with_width(shape_.channels % 4 == 0 && is_aligned(dy) && is_aligned(dx), [&](auto width) {
      average_pool_backward<width>
          <<<resident_blocks(context_, shape_.inputs() / width, threads), threads, 0, context_.stream>>>(
              geometry_, include_pads_, dy, dx);
    });
    check_launch("average_pool_backward");
  }

  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  const Context& context_;
  ops::PoolGeometry shape_;
  Geometry geometry_;
  bool include_pads_;
};

// y[s, c] = sum over pixels of x[s, p, c] / pixels. A block has `lanes` threads across channels times
// `strands` threads down the pixels of one sample; strands are joined pairwise.
template <int width>
__global__ void __launch_bounds__(threads)
    global_pool(int64_t tiles, int64_t pixels, int64_t channels, float share, const float* __restrict__ input,
                float* __restrict__ output) {
  __shared__ float parts[width][threads];
  const int64_t sample = blockIdx.x / tiles, tile = blockIdx.x - sample * tiles;
  const int64_t channel = (tile * blockDim.x + threadIdx.x) * width;
  const unsigned lanes = blockDim.x, me = threadIdx.y * lanes + threadIdx.x;
  Pack<float, width> sum{};
  if (channel < channels) {
    const float* from = input + sample * pixels * channels + channel;
#pragma unroll 4
    for (int64_t p = threadIdx.y; p < pixels; p += blockDim.y) {
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
  for (int k = 0; k < width; ++k) sum.v[k] = parts[k][me] * share;
  store<width>(output + sample * channels + channel, sum);
}

template <int width>
__global__ void __launch_bounds__(threads)
    global_pool_backward(int64_t count, int64_t pixels, int64_t channels, float share,
                         const float* __restrict__ dy, float* __restrict__ dx) {
  const int64_t groups = channels / width, step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    const int64_t pixel = i / groups, channel = (i - pixel * groups) * width;
    Pack<float, width> pack = load<width>(dy + pixel / pixels * channels + channel);
    for (int k = 0; k < width; ++k) pack.v[k] *= share;
    store<width>(dx + i * width, pack);
  }
}

class GlobalPoolOp : public ops::Op {
 public:
  GlobalPoolOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        n_(spec.samples),
        channels_(spec.inputs[0][0]),
        pixels_(spec.inputs[0][1] * spec.inputs[0][2]),
        share_(1.0f / static_cast<float>(pixels_)) {
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
          tiles, pixels_, channels_, share_, x, y);
    });
    check_launch("global_pool");
  }

  void backward(const ops::OpBackward& run) override {
    const float* dy = run.output_gradient;
    float* dx = run.input_gradients[0];
    if (!dx) return;
    with_width(channels_ % 4 == 0 && is_aligned(dy) && is_aligned(dx), [&](auto width) {
      const int64_t count = n_ * pixels_ * channels_ / width;
      global_pool_backward<width><<<resident_blocks(context_, count, threads), threads, 0, context_.stream>>>(
          count, pixels_, channels_, share_, dy, dx);
    });
    check_launch("global_pool_backward");
  }

  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  const Context& context_;
  int64_t n_, channels_, pixels_;
  float share_;
  int lanes_ = 1, strands_ = 1;
};

}  // namespace

std::unique_ptr<ops::Op> make_average_pool(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<AveragePoolOp>(context, spec);
}

std::unique_ptr<ops::Op> make_global_pool(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<GlobalPoolOp>(context, spec);
}

}  // namespace lepton::cuda
