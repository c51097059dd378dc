// SPDX-License-Identifier: Apache-2.0
// MaxPool in nhwc with an optional fused Relu, the twin of src/ops/max_pool.cpp: the first of equal maxima
// takes the gradient, NaN wins, Relu's cut is kept as the place `nowhere`. Not cuDNN's, because these are the
// host's semantics exactly and backward must be deterministic. Training saves the place of each maximum in
// its window, one byte each; backward gathers: every input element visits the windows that contain it in the
// host's order, so there are no atomics and the sums are the host's. Created by make_max_pool, for
// kernels/engine.cu.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "kernels/operators.h"
#include "ops/pool.h"

namespace lepton::cuda {

namespace {

constexpr int threads = 256;
constexpr int resident = 4;  // blocks on a multiprocessor: leaves each thread 64 registers, so none spill
constexpr int nowhere = static_cast<int>(ops::window_places_max);  // the largest place is one less

/// Consecutive channels of one pixel, as many as one thread works on at once.
template <class Element, int width>
struct alignas(width * sizeof(Element)) Pack {
  Element v[width];
};

template <int width, class Element>
__device__ inline Pack<Element, width> load(const Element* from) {
  return *reinterpret_cast<const Pack<Element, width>*>(from);
}

template <int width, class Element>
__device__ inline void store(Element* to, const Pack<Element, width>& pack) {
  *reinterpret_cast<Pack<Element, width>*>(to) = pack;
}

/// Numbers begin ... end - 1.
struct Range {
  int begin, end;
};

/// Windows along one axis: tap k of window `o` lies at o * stride - pad + k * dilation.
struct Axis {
  int size, out, kernel, stride, dilation, pad;

  Axis(const ops::Window& w, int axis, int64_t size, int64_t out)
      : size(static_cast<int>(size)),
        out(static_cast<int>(out)),
        kernel(static_cast<int>(w.kernel[axis])),
        stride(static_cast<int>(w.stride[axis])),
        dilation(static_cast<int>(w.dilation[axis])),
        pad(static_cast<int>(w.pad_begin[axis])) {}

  /// The taps of window `o` that lie inside.
  __device__ Range taps(int o) const {
    const int first = o * stride - pad, room = size - first;
    return {first < 0 ? (dilation - 1 - first) / dilation : 0,
            room <= 0 ? 0 : min(kernel, (room + dilation - 1) / dilation)};
  }
  /// The windows that reach over `at`. With dilation not all of them have a tap there: see tap().
  __device__ Range windows(int at) const {
    const int low = at + pad - (kernel - 1) * dilation;
    return {low > 0 ? (low + stride - 1) / stride : 0, min(out, (at + pad) / stride + 1)};
  }
  /// The tap of window `o` that lies at `at`, -1 if none does.
  __device__ int tap(int o, int at) const {
    const int distance = at + pad - o * stride, k = distance / dilation;
    return k * dilation == distance ? k : -1;
  }
};

struct Geometry {
  int64_t n, channels;
  Axis y, x;

  explicit Geometry(const ops::PoolGeometry& g)
      : n(g.n),
        channels(g.channels),
        y(g.window, 0, g.height, g.out_height),
        x(g.window, 1, g.width, g.out_width) {
    CHECK(std::max(g.inputs(), g.outputs()) / channels <= std::numeric_limits<int>::max(), "pixels");
  }
};

/// A thread's place in an image height x width: sample, row, column and first channel. Geometry has checked
/// that pixels can be counted in 32 bits, whose division is cheaper; elements are counted in 64.
struct Place {
  int64_t channel;
  int sample, y, x;

  __device__ Place(int64_t index, int64_t groups, int group_width, int height, int width) {
    const int64_t whole = index / groups;
    const int pixel = static_cast<int>(whole), line = pixel / width;
    channel = (index - whole * groups) * group_width;
    x = pixel - line * width;
    sample = line / height;
    y = line - sample * height;
  }
  /// Where the thread's channels begin at row `y`, column `x` of its sample in another image.
  __device__ int64_t in(const Geometry& g, int height, int width, int y, int x) const {
    return ((static_cast<int64_t>(sample) * height + y) * width + x) * g.channels + channel;
  }
};

// `places` is null where no backward will follow.
template <int width>
__global__ void __launch_bounds__(threads, resident)
    max_pool(Geometry g, bool relu, const float* __restrict__ input, float* __restrict__ output,
             uint8_t* __restrict__ places) {
  const int64_t groups = g.channels / width, count = g.n * g.y.out * g.x.out * groups;
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    const Place to(i, groups, width, g.y.out, g.x.out);
    const Range rows = g.y.taps(to.y), columns = g.x.taps(to.x);
    Pack<float, width> best{};
    int place[width];
    for (int k = 0; k < width; ++k) place[k] = nowhere;
    for (int ky = rows.begin; ky < rows.end; ++ky) {
      const int y = to.y * g.y.stride - g.y.pad + ky * g.y.dilation;
      for (int kx = columns.begin; kx < columns.end; ++kx) {
        const int x = to.x * g.x.stride - g.x.pad + kx * g.x.dilation;
        const auto in = load<width>(input + to.in(g, g.y.size, g.x.size, y, x));
        for (int k = 0; k < width; ++k) {
          // The first tap is taken whatever it is; NaN always.
          const bool takes = place[k] == nowhere || in.v[k] > best.v[k] || in.v[k] != in.v[k];
          best.v[k] = takes ? in.v[k] : best.v[k];
          place[k] = takes ? ky * g.x.kernel + kx : place[k];
        }
      }
    }
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
  const int64_t groups = g.channels / width, count = g.n * g.y.size * g.x.size * groups;
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) {
    const Place at(i, groups, width, g.y.size, g.x.size);
    const Range rows = g.y.windows(at.y), columns = g.x.windows(at.x);
    Pack<float, width> sum{};
    for (int oy = rows.begin; oy < rows.end; ++oy) {
      const int ky = g.y.tap(oy, at.y);
      if (ky < 0) continue;
      for (int ox = columns.begin; ox < columns.end; ++ox) {
        const int kx = g.x.tap(ox, at.x), here = ky * g.x.kernel + kx;
        if (kx < 0) continue;
        const int64_t from = at.in(g, g.y.out, g.x.out, oy, ox);
        const auto place = load<width>(places + from);
        const auto gradient = load<width>(dy + from);
        for (int k = 0; k < width; ++k) sum.v[k] += place.v[k] == here ? gradient.v[k] : 0.0f;
      }
    }
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
    with_width(x, y, [&](auto width) {
      max_pool<width>
          <<<blocks(shape_.outputs() / width), threads, 0, context_.stream>>>(geometry_, relu_, x, y, places);
    });
    check_launch("max_pool");
  }

  void backward(const ops::OpBackward& run) override {
    const float* dy = run.output_gradient;
    float* dx = run.input_gradients[0];
    if (!dx) return;
    const auto* places = reinterpret_cast<const uint8_t*>(run.saved);
    with_width(dy, dx, [&](auto width) {
      max_pool_backward<width>
          <<<blocks(shape_.inputs() / width), threads, 0, context_.stream>>>(geometry_, places, dy, dx);
    });
    check_launch("max_pool_backward");
  }

  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  /// A grid-stride loop: no more blocks than are resident at once.
  unsigned blocks(int64_t count) const {
    return static_cast<unsigned>(
        std::min<int64_t>((count + threads - 1) / threads, 8 * context_.multiprocessors));
  }
  template <class Launch>
  void with_width(const float* a, const float* b, const Launch& launch) const {
    if (shape_.channels % 4 == 0 &&
        (reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b)) % sizeof(float4) == 0)
      launch(std::integral_constant<int, 4>{});
    else
      launch(std::integral_constant<int, 1>{});
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
