// SPDX-License-Identifier: Apache-2.0
// AveragePool, channels last, the twin of src/ops/pool.cpp (count_include_pad and ceil_mode as there). Not
// cuDNN's, because windows that hang over the edge must count as on the host and every sum has a fixed order:
// a window row by row, and in backward, which gathers, the windows that contain an input element in the
// host's order, without atomics; both give the host's bits. Created by make_average_pool, for
// kernels/engine.cu.
#include "kernels/operators.h"
#include "kernels/pack.h"
#include "kernels/windows.h"

namespace lepton::cuda {

namespace {

__device__ inline float tap_share(int count) {
  return 1.0f / static_cast<float>(max(count, 1));
}

/// The taps that count of one window.
__device__ inline int counted(const Geometry& g, bool include_pads, int oz, int oy, int ox) {
  return g.z.counted(oz, include_pads) * g.y.counted(oy, include_pads) * g.x.counted(ox, include_pads);
}

// y = (sum over the taps inside) / (taps that count)
template <int width>
__global__ void __launch_bounds__(threads, resident)
    average_pool(Geometry g, bool include_pads, const float* __restrict__ input, float* __restrict__ output) {
  const int64_t groups = g.channels / width, count = g.pixels_out() * groups;
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    const WindowPlace to = WindowPlace::output(g, i, groups, width);
    Pack<float, width> sum{};
    for_taps(g, to, [&](int, int64_t from) {
      const auto in = load<width>(input + from);
      for (int k = 0; k < width; ++k) sum.v[k] += in.v[k];
    });
    const float share = tap_share(counted(g, include_pads, to.z, to.y, to.x));
    for (int k = 0; k < width; ++k) sum.v[k] *= share;
    store<width>(output + i * width, sum);
  }
}

// dx = sum over the windows that contain the element of dy / (taps that count), in order of windows
template <int width>
__global__ void __launch_bounds__(threads, resident)
    average_pool_backward(Geometry g, bool include_pads, const float* __restrict__ dy,
                          float* __restrict__ dx) {
  const int64_t groups = g.channels / width, count = g.pixels_in() * groups;
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    const WindowPlace at = WindowPlace::input(g, i, groups, width);
    Pack<float, width> sum{};
    for_windows(g, at, [&](int oz, int oy, int ox, int, int64_t from) {
      const float share = tap_share(counted(g, include_pads, oz, oy, ox));
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

}  // namespace

std::unique_ptr<ops::Op> make_average_pool(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<AveragePoolOp>(context, spec);
}

}  // namespace lepton::cuda
