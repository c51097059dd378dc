// SPDX-License-Identifier: Apache-2.0
// AveragePool and GlobalAveragePool in nhwc, and the shape rules of all pools. Our own loops, vector over
// channels; the order of sums is fixed (window row by row; pixels in order), so bits do not depend on the
// machine. Made by the table, run by model/executor.
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
  const int64_t channels = g.channels, plane = g.out_height * g.out_width * channels;
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
  const int64_t channels = g.channels, plane = g.out_height * g.out_width * channels;
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
    const Window& w = geometry_.window;
    for (int64_t oy = 0; oy < geometry_.out_height; ++oy)
      for (int64_t ox = 0; ox < geometry_.out_width; ++ox) {
        const int64_t count =
            touched(w, 0, oy, geometry_.height, include) * touched(w, 1, ox, geometry_.width, include);
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
  static int64_t touched(const Window& w, int axis, int64_t output, int64_t size, bool include_pads) {
    const int64_t low = include_pads ? -w.pad_begin[axis] : 0;
    const int64_t high = include_pads ? size + w.pad_end[axis] : size;
    int64_t count = 0;
    for (int64_t k = 0; k < w.kernel[axis]; ++k) {
      const int64_t at = output * w.stride[axis] - w.pad_begin[axis] + k * w.dilation[axis];
      count += at >= low && at < high;
    }
    return count;
  }
  PoolGeometry geometry_;
  std::vector<float> factors_;  ///< 1 / count, per output pixel
};

LEPTON_SIMD void global_pool(int64_t n, int64_t pixels, int64_t channels, const float* input, float* output) {
  const float factor = 1.0f / static_cast<float>(pixels);
  for (int64_t s = 0; s < n; ++s) {
    float* y = output + s * channels;
    const float* x = input + s * pixels * channels;
    for (int64_t c = 0; c < channels; ++c) y[c] = x[c];
    for (int64_t p = 1; p < pixels; ++p)
      for (int64_t c = 0; c < channels; ++c) y[c] += x[p * channels + c];
    for (int64_t c = 0; c < channels; ++c) y[c] *= factor;
  }
}

LEPTON_SIMD void global_pool_backward(int64_t n, int64_t pixels, int64_t channels, const float* dy,
                                      float* dx) {
  const float factor = 1.0f / static_cast<float>(pixels);
  for (int64_t s = 0; s < n; ++s)
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < channels; ++c)
        dx[(s * pixels + p) * channels + c] = dy[s * channels + c] * factor;
}

class GlobalPoolOp : public Op {
 public:
  explicit GlobalPoolOp(const OpSpec& spec)
      : n_(spec.samples), channels_(spec.inputs[0][0]), pixels_(spec.inputs[0][1] * spec.inputs[0][2]) {}
  void forward(const OpForward& run) override {
    global_pool(n_, pixels_, channels_, run.inputs[0], run.output);
  }
  void backward(const OpBackward& run) override {
    if (run.input_gradients[0])
      global_pool_backward(n_, pixels_, channels_, run.output_gradient, run.input_gradients[0]);
  }
  BackwardNeeds backward_needs() const override { return {}; }

 private:
  int64_t n_, channels_, pixels_;
};

}  // namespace

/// Along one axis: has every window a place inside?
static bool each_window_holds_something(const Window& window, int axis, int64_t size, int64_t windows) {
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
  require_shape(input.size() == 3,
                spec.type + " needs an image [channels, height, width], not " + shape_text(input));
  const Window window = parse_window(spec, {});
  require_shape(window.kernel[0] * window.kernel[1] <= window_places_max,
                spec.type + " windows hold at most 255 elements");
  const auto size = window_output(spec, window, int_attribute(spec.attributes, "ceil_mode", 0) != 0);
  for (int axis = 0; axis < 2; ++axis)
    require_shape(each_window_holds_something(window, axis, input[axis + 1], size[axis]),
                  spec.type + " has windows that lie on its pads only: use smaller pads or dilations");
  return {input[0], size[0], size[1]};
}

Shape infer_global_pool(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  require_shape(input.size() == 3,
                spec.type + " needs an image [channels, height, width], not " + shape_text(input));
  return {input[0], 1, 1};
}

std::unique_ptr<Op> make_average_pool(const OpSpec& spec) {
  return std::make_unique<AveragePoolOp>(spec);
}
std::unique_ptr<Op> make_global_pool(const OpSpec& spec) {
  return std::make_unique<GlobalPoolOp>(spec);
}

}  // namespace lepton::ops
