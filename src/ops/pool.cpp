// SPDX-License-Identifier: Apache-2.0
// AveragePool, channels last, and the shape rule of pools with windows. Our own loops, vector over channels;
// the order of sums is fixed (window row by row), so bits do not depend on the machine. Made by the table,
// run by model/executor.
#include <algorithm>

#include "base/simd.h"
#include "ops/pool.h"

namespace lepton::ops {

namespace {

[[gnu::always_inline]] inline void add(int64_t channels, float factor, const float* __restrict x,
                                       float* __restrict y) {
  for (int64_t c = 0; c < channels; ++c) y[c] += x[c] * factor;
}

/// factors: 1 / elements that count, per output pixel of a sample.
LEPTON_SIMD void average_pool(const PoolGeometry& g, const float* factors, const float* input,
                              float* output) {
  const int64_t channels = g.channels, plane = g.outputs_per_sample();
  for_outputs(
      g, [&](int64_t to, const Inside& inside) __attribute__((always_inline)) {
        float* y = output + to;
        std::fill_n(y, channels, 0.0f);
        for (int64_t k = 0; k < inside.count; ++k) add(channels, 1.0f, input + inside.offset[k], y);
        const float factor = factors[to % plane / channels];
        for (int64_t c = 0; c < channels; ++c) y[c] *= factor;
      });
}

LEPTON_SIMD void average_pool_backward(const PoolGeometry& g, const float* factors, const float* dy,
                                       float* dx) {
  const int64_t channels = g.channels, plane = g.outputs_per_sample();
  std::fill_n(dx, g.inputs(), 0.0f);
  for_outputs(
      g, [&](int64_t from, const Inside& inside) __attribute__((always_inline)) {
        const float factor = factors[from % plane / channels];
        for (int64_t k = 0; k < inside.count; ++k) add(channels, factor, dy + from, dx + inside.offset[k]);
      });
}

class AveragePoolOp : public Op {
 public:
  explicit AveragePoolOp(const OpSpec& spec) : geometry_(spec) {
    const bool include = int_attribute(spec.attributes, "count_include_pad", 0) != 0;
    const PoolAxis &z = geometry_.z, &y = geometry_.y, &x = geometry_.x;
    for (int64_t oz = 0; oz < z.out; ++oz)
      for (int64_t oy = 0; oy < y.out; ++oy)
        for (int64_t ox = 0; ox < x.out; ++ox) {
          const int64_t count = touched(z, oz, include) * touched(y, oy, include) * touched(x, ox, include);
          factors_.push_back(1.0f / static_cast<float>(std::max<int64_t>(count, 1)));
        }
  }
  void forward(const OpForward& run) override {
    average_pool(geometry_, factors_.data(), run.inputs[0], run.output);
  }
  void backward(const OpBackward& run) override {
    if (run.input_gradients[0])
      average_pool_backward(geometry_, factors_.data(), run.output_gradient, run.input_gradients[0]);
  }
  BackwardNeeds backward_needs() const override { return {}; }

 private:
  /// Elements of the window along one axis that count: inside the image, or also inside the pads.
  static int64_t touched(const PoolAxis& axis, int64_t output, bool include_pads) {
    const int64_t low = include_pads ? -axis.pad_begin : 0;
    const int64_t high = include_pads ? axis.size + axis.pad_end : axis.size;
    int64_t count = 0;
    for (int64_t k = 0; k < axis.kernel; ++k) {
      const int64_t at = output * axis.stride - axis.pad_begin + k * axis.dilation;
      count += at >= low && at < high;
    }
    return count;
  }
  PoolGeometry geometry_;
  std::vector<float> factors_;  ///< 1 / count, per output pixel
};

}  // namespace

/// Along one axis: has every window a place inside?
static bool each_window_holds_something(const Window& window, size_t axis, int64_t size, int64_t windows) {
  for (int64_t o = 0; o < windows; ++o) {
    bool holds = false;
    for (int64_t k = 0; k < window.kernel[axis]; ++k) {
      const int64_t at = o * window.stride[axis] - window.pad_begin[axis] + k * window.dilation[axis];
      holds = holds || (at >= 0 && at < size);
    }
    if (!holds) return false;
  }
  return true;
}

Shape infer_pool(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  const Window window = parse_window(spec, {});
  int64_t places = 1;
  for (size_t axis = 0; axis < window.axes; ++axis)
    places *= std::min(window.kernel[axis], window_places_max + 1);
  require_shape(places <= window_places_max, spec.type + " windows hold at most 255 elements");
  Shape output = window_output(spec, window, int_attribute(spec.attributes, "ceil_mode", 0) != 0);
  for (size_t axis = 0; axis < window.axes; ++axis)
    require_shape(each_window_holds_something(window, axis, input[axis + 1], output[axis]),
                  spec.type + " has windows that lie on its pads only: use smaller pads or dilations");
  output.insert(output.begin(), input[0]);
  return output;
}

std::unique_ptr<Op> make_average_pool(const OpSpec& spec) {
  return std::make_unique<AveragePoolOp>(spec);
}

}  // namespace lepton::ops
