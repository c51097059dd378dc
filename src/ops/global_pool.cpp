// SPDX-License-Identifier: Apache-2.0
// GlobalAveragePool and GlobalMaxPool, channels last: over all pixels of an image, a volume or a sequence, to
// [C, 1, ...]. Vector over channels, pixels in order; the first of equal maxima takes the gradient, NaN wins.
// Made by the table, run by model/executor. Twin: kernels/global_pool.cu.
#include <algorithm>

#include "base/simd.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

LEPTON_SIMD void average_pixels(int64_t n, int64_t pixels, int64_t channels, const float* input,
                                float* output) {
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

LEPTON_SIMD void spread_pixels(int64_t n, int64_t pixels, int64_t channels, const float* dy, float* dx) {
  const float factor = 1.0f / static_cast<float>(pixels);
  for (int64_t s = 0; s < n; ++s)
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < channels; ++c)
        dx[(s * pixels + p) * channels + c] = dy[s * channels + c] * factor;
}

class GlobalAveragePoolOp : public Op {
 public:
  explicit GlobalAveragePoolOp(const OpSpec& spec)
      : n_(spec.samples), channels_(spec.inputs[0][0]), pixels_(element_count(spec.inputs[0]) / channels_) {}
  void forward(const OpForward& run) override {
    average_pixels(n_, pixels_, channels_, run.inputs[0], run.output);
  }
  void backward(const OpBackward& run) override {
    if (run.input_gradients[0])
      spread_pixels(n_, pixels_, channels_, run.output_gradient, run.input_gradients[0]);
  }
  BackwardNeeds backward_needs() const override { return {}; }

 private:
  int64_t n_, channels_, pixels_;
};

/// y and the pixel in which it lies.
LEPTON_SIMD void largest_pixels(int64_t n, int64_t pixels, int64_t channels, const float* input,
                                float* output, int32_t* places) {
  for (int64_t s = 0; s < n; ++s) {
    float* y = output + s * channels;
    int32_t* place = places + s * channels;
    const float* x = input + s * pixels * channels;
    for (int64_t c = 0; c < channels; ++c) {
      y[c] = x[c];
      place[c] = 0;
    }
    for (int64_t p = 1; p < pixels; ++p) {
      const float* pixel = x + p * channels;
      const auto here = static_cast<int32_t>(p);
      for (int64_t c = 0; c < channels; ++c) {
        const bool takes = (pixel[c] > y[c]) | (pixel[c] != pixel[c]);
        y[c] = takes ? pixel[c] : y[c];
        place[c] = takes ? here : place[c];
      }
    }
  }
}

class GlobalMaxPoolOp : public Op {
 public:
  explicit GlobalMaxPoolOp(const OpSpec& spec)
      : n_(spec.samples),
        channels_(spec.inputs[0][0]),
        pixels_(element_count(spec.inputs[0]) / channels_),
        training_(spec.training) {
    MemoryPlan places;
    places.add(static_cast<size_t>(n_ * channels_) * sizeof(int32_t));
    (training_ ? saved_bytes_ : scratch_bytes_) = places.bytes();
  }
  void forward(const OpForward& run) override {
    auto* places = reinterpret_cast<int32_t*>(training_ ? run.saved : run.scratch);
    largest_pixels(n_, pixels_, channels_, run.inputs[0], run.output, places);
  }
  void backward(const OpBackward& run) override {
    float* dx = run.input_gradients[0];
    if (!dx) return;
    const auto* places = reinterpret_cast<const int32_t*>(run.saved);
    std::fill_n(dx, n_ * pixels_ * channels_, 0.0f);
    for (int64_t s = 0; s < n_; ++s)
      for (int64_t c = 0; c < channels_; ++c)
        dx[(s * pixels_ + places[s * channels_ + c]) * channels_ + c] =
            run.output_gradient[s * channels_ + c];
  }
  BackwardNeeds backward_needs() const override { return {}; }

 private:
  int64_t n_, channels_, pixels_;
  bool training_;
};

}  // namespace

Shape infer_global_pool(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  require_shape(
      input.size() >= 2,
      spec.type + " needs channels and pixels, as [channels, height, width], not " + shape_text(input));
  require_shape(element_count(input) / input[0] <= INT32_MAX, spec.type + " of too many pixels");
  Shape output(input.size(), 1);
  output[0] = input[0];
  return output;
}

std::unique_ptr<Op> make_global_average_pool(const OpSpec& spec) {
  return std::make_unique<GlobalAveragePoolOp>(spec);
}
std::unique_ptr<Op> make_global_max_pool(const OpSpec& spec) {
  return std::make_unique<GlobalMaxPoolOp>(spec);
}

}  // namespace lepton::ops
