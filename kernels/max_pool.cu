// SPDX-License-Identifier: Apache-2.0
// MaxPool, channels last, with an optional fused Relu, the twin of src/ops/max_pool.cpp: the first of equal
// maxima takes the gradient, NaN wins, Relu's cut is kept as the place `nowhere`. Not cuDNN's, because these
// are the host's semantics exactly and backward must be deterministic. Training saves the place of each
// maximum in its window, one byte each; backward gathers: every input element visits the windows that contain
// it in the host's order, so there are no atomics and the sums are the host's. Created by make_max_pool, for
// kernels/engine.cu.
#include "kernels/operators.h"
#include "kernels/pack.h"
#include "kernels/windows.h"

namespace lepton::cuda {

namespace {

constexpr int nowhere = static_cast<int>(ops::window_places_max);  // the largest place is one less

// `places` is null where no backward will follow.
template <int width>
__global__ void __launch_bounds__(threads, resident)
    max_pool(Geometry g, bool relu, const float* __restrict__ input, float* __restrict__ output,
             uint8_t* __restrict__ places) {
  const int64_t groups = g.channels / width, count = g.pixels_out() * groups;
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    const WindowPlace to = WindowPlace::output(g, i, groups, width);
    Pack<float, width> best{};
    int place[width];
    for (int k = 0; k < width; ++k) place[k] = nowhere;
    for_taps(g, to, [&](int tap, int64_t from) {
      const auto in = load<width>(input + from);
      for (int k = 0; k < width; ++k) {
        // The first tap is taken whatever it is; NaN always.
        const bool takes = place[k] == nowhere || in.v[k] > best.v[k] || in.v[k] != in.v[k];
        best.v[k] = takes ? in.v[k] : best.v[k];
        place[k] = takes ? tap : place[k];
      }
    });
    Pack<uint8_t, width> kept;
    for (int k = 0; k < width; ++k) {
      kept.v[k] = static_cast<uint8_t>(relu && !(best.v[k] > 0.0f) ? nowhere : place[k]);
      best.v[k] = relu && best.v[k] < 0.0f ? 0.0f : best.v[k];
    }
    store<width>(output + i * width, best);
    if (places) store<width>(places + i * width, kept);
  }
}

// dx = sum of dy over the windows whose maximum lies here, in order of windows.
template <int width>
__global__ void __launch_bounds__(threads, resident)
    max_pool_backward(Geometry g, const uint8_t* __restrict__ places, const float* __restrict__ dy,
                      float* __restrict__ dx) {
  const int64_t groups = g.channels / width, count = g.pixels_in() * groups;
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    const WindowPlace at = WindowPlace::input(g, i, groups, width);
    Pack<float, width> sum{};
    for_windows(g, at, [&](int, int, int, int here, int64_t from) {
      const auto place = load<width>(places + from);
      const auto gradient = load<width>(dy + from);
      for (int k = 0; k < width; ++k) sum.v[k] += place.v[k] == here ? gradient.v[k] : 0.0f;
    });
    store<width>(dx + i * width, sum);
  }
}

class MaxPoolOp : public ops::Op {
 public:
  MaxPoolOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        shape_(spec),
        geometry_(shape_),
        training_(spec.training),
        relu_(spec.activation == "Relu") {
    ops::MemoryPlan saved;
    if (training_) saved.add(static_cast<size_t>(shape_.outputs()));
    saved_bytes_ = saved.bytes();
  }

  void forward(const ops::OpForward& run) override {
    const float* x = run.inputs[0];
    float* y = run.output;
    auto* places = training_ ? reinterpret_cast<uint8_t*>(run.saved) : nullptr;
    with_width(four_wide(x, y), [&](auto width) {
      max_pool<width>
          <<<resident_blocks(context_, shape_.outputs() / width, threads), threads, 0, context_.stream>>>(
              geometry_, relu_, x, y, places);
    });
    check_launch("max_pool");
  }

  void backward(const ops::OpBackward& run) override {
    const float* dy = run.output_gradient;
    float* dx = run.input_gradients[0];
    if (!dx) return;
    const auto* places = reinterpret_cast<const uint8_t*>(run.saved);
    with_width(four_wide(dy, dx), [&](auto width) {
      max_pool_backward<width>
          <<<resident_blocks(context_, shape_.inputs() / width, threads), threads, 0, context_.stream>>>(
              geometry_, places, dy, dx);
    });
    check_launch("max_pool_backward");
  }

  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  bool four_wide(const float* a, const float* b) const {
    return shape_.channels % 4 == 0 && is_aligned(a) && is_aligned(b);
  }

  const Context& context_;
  ops::PoolGeometry shape_;
  Geometry geometry_;
  bool training_, relu_;
};

}  // namespace

std::unique_ptr<ops::Op> make_max_pool(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<MaxPoolOp>(context, spec);
}

}  // namespace lepton::cuda
