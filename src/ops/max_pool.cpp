// SPDX-License-Identifier: Apache-2.0
// MaxPool in nhwc, with an optional fused Relu: max and Relu commute, so a Relu between a convolution and its
// pool is cheapest behind the pool. The first of equal maxima takes the gradient; NaN wins. Training keeps
// one byte per output, the place of the maximum in its window, `nowhere` where Relu cut it off. Windows of 2
// x 2 that do not overlap, the usual case, have loops of their own with the same results. Made by the table,
// run by model/executor.
#include <algorithm>
#include <cstring>

#include "base/simd.h"
#include "ops/pool.h"

namespace lepton::ops {

namespace {

constexpr uint8_t nowhere = 255;

LEPTON_SIMD void max_pool(const PoolGeometry& g, const float* input, float* output, uint8_t* places) {
  const int64_t channels = g.channels;
  for_windows(
      g, [=](int64_t to, int64_t from, int64_t place, bool first) __attribute__((always_inline)) {
        const float* __restrict x = input + from * channels;
        float* __restrict y = output + to * channels;
        uint8_t* __restrict p = places + to * channels;
        const uint8_t here = static_cast<uint8_t>(place);
        if (first) {
          std::copy(x, x + channels, y);
          std::memset(p, here, static_cast<size_t>(channels));
          return;
        }
        for (int64_t c = 0; c < channels; ++c) {
          const bool takes = (x[c] > y[c]) | (x[c] != x[c]);
          y[c] = takes ? x[c] : y[c];
          p[c] = takes ? here : p[c];
        }
      });
}

LEPTON_SIMD void cut_off(int64_t count, float* __restrict y, uint8_t* __restrict places) {
  for (int64_t i = 0; i < count; ++i) {
    places[i] = y[i] > 0.0f ? places[i] : nowhere;
    y[i] = y[i] < 0.0f ? 0.0f : y[i];
  }
}

LEPTON_SIMD void max_pool_backward(const PoolGeometry& g, const uint8_t* places, const float* dy, float* dx) {
  const int64_t channels = g.channels;
  for_windows(
      g, [=](int64_t from, int64_t to, int64_t place, bool) __attribute__((always_inline)) {
        const uint8_t* __restrict p = places + from * channels;
        const float* __restrict y = dy + from * channels;
        float* __restrict x = dx + to * channels;
        const uint8_t here = static_cast<uint8_t>(place);
        for (int64_t c = 0; c < channels; ++c) x[c] += p[c] == here ? y[c] : 0.0f;
      });
}

/// One row of 2 x 2 windows: `above` and `below` are its two input rows.
template <bool relu>
[[gnu::always_inline]] inline void pairs_row(int64_t windows, int64_t channels, const float* __restrict above,
                                             const float* __restrict below, float* __restrict y,
                                             uint8_t* __restrict places) {
  for (int64_t w = 0; w < windows; ++w) {
    const float* __restrict a = above + 2 * w * channels, * __restrict b = a + channels;
    const float* __restrict c = below + 2 * w * channels, * __restrict d = c + channels;
    for (int64_t i = 0; i < channels; ++i) {
      float largest = a[i];
      int place = 0;
      bool takes = (b[i] > largest) | (b[i] != b[i]);
      largest = takes ? b[i] : largest;
      place = takes ? 1 : place;
      takes = (c[i] > largest) | (c[i] != c[i]);
      largest = takes ? c[i] : largest;
      place = takes ? 2 : place;
      takes = (d[i] > largest) | (d[i] != d[i]);
      largest = takes ? d[i] : largest;
      place = takes ? 3 : place;
      if (relu) {
        place = largest > 0.0f ? place : nowhere;
        largest = largest < 0.0f ? 0.0f : largest;
      }
      places[w * channels + i] = static_cast<uint8_t>(place);
      y[w * channels + i] = largest;
    }
  }
}

LEPTON_SIMD void pairs(const PoolGeometry& g, bool relu, const float* x, float* y, uint8_t* places) {
  const int64_t row = g.width * g.channels, out_row = g.out_width * g.channels;
  for (int64_t s = 0; s < g.n; ++s)
    for (int64_t oy = 0; oy < g.out_height; ++oy, y += out_row, places += out_row) {
      const float* above = x + (s * g.height + 2 * oy) * row;
      if (relu)
        pairs_row<true>(g.out_width, g.channels, above, above + row, y, places);
      else
        pairs_row<false>(g.out_width, g.channels, above, above + row, y, places);
    }
}

/// The four inputs of one window; a function of its own, for only parameters keep their __restrict in gcc 12.
[[gnu::always_inline]] inline void pair_backward(int64_t channels, const float* __restrict y,
                                                 const uint8_t* __restrict places, float* __restrict a,
                                                 float* __restrict b, float* __restrict c,
                                                 float* __restrict d) {
  for (int64_t i = 0; i < channels; ++i) {
    const int place = places[i];
    const float value = y[i];
    a[i] = place == 0 ? value : 0.0f;
    b[i] = place == 1 ? value : 0.0f;
    c[i] = place == 2 ? value : 0.0f;
    d[i] = place == 3 ? value : 0.0f;
  }
}

// Every input of a window is written once; what no window covers (odd sizes) was zeroed before.
LEPTON_SIMD void pairs_backward(const PoolGeometry& g, const uint8_t* places, const float* dy, float* dx) {
  const int64_t row = g.width * g.channels, channels = g.channels;
  for (int64_t s = 0; s < g.n; ++s)
    for (int64_t oy = 0; oy < g.out_height; ++oy) {
      float* above = dx + (s * g.height + 2 * oy) * row;
      for (int64_t ox = 0; ox < g.out_width; ++ox, above += 2 * channels) {
        pair_backward(channels, dy, places, above, above + channels, above + row, above + row + channels);
        dy += channels;
        places += channels;
      }
    }
}

class MaxPoolOp : public Op {
 public:
  explicit MaxPoolOp(const OpSpec& spec)
      : geometry_(spec), training_(spec.training), relu_(spec.activation == "Relu") {
    const Window& w = geometry_.window;
    pairs_ = true;
    for (int axis = 0; axis < 2; ++axis)
      pairs_ = pairs_ && w.kernel[axis] == 2 && w.stride[axis] == 2 && w.dilation[axis] == 1 &&
               w.pad_begin[axis] == 0 && spec.output[axis + 1] * 2 <= spec.inputs[0][axis + 1];
    MemoryPlan places;
    places.add(static_cast<size_t>(geometry_.outputs()));
    (training_ ? saved_bytes_ : scratch_bytes_) = places.bytes();
  }

  void forward(const OpForward& run) override {
    auto* places = reinterpret_cast<uint8_t*>(training_ ? run.saved : run.scratch);
    if (pairs_) return pairs(geometry_, relu_, run.inputs[0], run.output, places);
    max_pool(geometry_, run.inputs[0], run.output, places);
    if (relu_) cut_off(geometry_.outputs(), run.output, places);
  }

  void backward(const OpBackward& run) override {
    float* dx = run.input_gradients[0];
    if (!dx) return;
    const auto* places = reinterpret_cast<const uint8_t*>(run.saved);
    const bool covered = pairs_ && geometry_.height % 2 == 0 && geometry_.width % 2 == 0;
    if (!covered) std::fill_n(dx, geometry_.inputs(), 0.0f);
    (pairs_ ? pairs_backward : max_pool_backward)(geometry_, places, run.output_gradient, dx);
  }

  BackwardNeeds backward_needs() const override { return {}; }

 private:
  PoolGeometry geometry_;
  bool training_, relu_, pairs_;
};

}  // namespace

std::unique_ptr<Op> make_max_pool(const OpSpec& spec) {
  return std::make_unique<MaxPoolOp>(spec);
}

}  // namespace lepton::ops
