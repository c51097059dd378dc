// SPDX-License-Identifier: Apache-2.0
// GlobalAveragePool and GlobalMaxPool, channels last: over all pixels of an image, a volume or a sequence, to
// [C, 1, ...]. Vector over channels, pixels in order; the first of equal maxima takes the gradient, NaN wins.
// Of a sequence [C, T] a second input may give each sample's length, one number in float32: what lies at or
// behind it is not looked at and gets no gradient; of nothing mean and maximum are 0. Made by the table, run
// by model/executor. Twin: kernels/global_pool.cu.
#include <algorithm>

#include "base/simd.h"
#include "ops/operators.h"
#include "ops/sequence_length.h"

namespace lepton::ops {

namespace {

/// How many pixels of a sample count; without lengths all do.
[[gnu::always_inline]] inline int64_t counted_pixels(const float* lengths, int64_t sample, int64_t pixels) {
  return lengths ? sequence_length(lengths[sample], pixels) : pixels;
}

LEPTON_SIMD void average_pixels(int64_t n, int64_t pixels, int64_t channels, const float* lengths,
                                const float* input, float* output) {
  for (int64_t s = 0; s < n; ++s) {
    float* y = output + s * channels;
    const int64_t count = counted_pixels(lengths, s, pixels);
    if (count == 0) {
      std::fill_n(y, channels, 0.0f);
      continue;
    }
    const float factor = 1.0f / static_cast<float>(count);
    const float* x = input + s * pixels * channels;
    for (int64_t c = 0; c < channels; ++c) y[c] = x[c];
    for (int64_t p = 1; p < count; ++p)
      for (int64_t c = 0; c < channels; ++c) y[c] += x[p * channels + c];
    for (int64_t c = 0; c < channels; ++c) y[c] *= factor;
  }
}

LEPTON_SIMD void spread_pixels(int64_t n, int64_t pixels, int64_t channels, const float* lengths,
                               const float* dy, float* dx) {
  for (int64_t s = 0; s < n; ++s) {
    const int64_t count = counted_pixels(lengths, s, pixels);
    const float factor = 1.0f / static_cast<float>(std::max<int64_t>(count, 1));
    float* to = dx + s * pixels * channels;
    for (int64_t p = 0; p < count; ++p)
      for (int64_t c = 0; c < channels; ++c) to[p * channels + c] = dy[s * channels + c] * factor;
    std::fill_n(to + count * channels, (pixels - count) * channels, 0.0f);
  }
}

/// Those of each sample, or null.
const float* lengths_in(std::span<const float* const> inputs) {
  return inputs.size() > 1 ? inputs[1] : nullptr;
}
void check_gradients(const OpBackward& run) {
  CHECK(run.input_gradients.size() < 2 || !run.input_gradients[1], "lengths have no gradient");
}

class GlobalAveragePoolOp : public Op {
 public:
  explicit GlobalAveragePoolOp(const OpSpec& spec)
      : n_(spec.samples),
        channels_(spec.inputs[0][0]),
        pixels_(element_count(spec.inputs[0]) / channels_),
        lengths_(spec.inputs.size() > 1) {}
  void forward(const OpForward& run) override {
    average_pixels(n_, pixels_, channels_, lengths_in(run.inputs), run.inputs[0], run.output);
  }
  void backward(const OpBackward& run) override {
    check_gradients(run);
    if (run.input_gradients[0])
      spread_pixels(n_, pixels_, channels_, lengths_in(run.inputs), run.output_gradient,
                    run.input_gradients[0]);
  }
  BackwardNeeds backward_needs() const override { return {.inputs = lengths_, .output = false}; }

 private:
  int64_t n_, channels_, pixels_;
  bool lengths_;
};

/// y and the pixel in which it lies; -1: in none.
LEPTON_SIMD void largest_pixels(int64_t n, int64_t pixels, int64_t channels, const float* lengths,
                                const float* input, float* output, int32_t* places) {
  for (int64_t s = 0; s < n; ++s) {
    float* y = output + s * channels;
    int32_t* place = places + s * channels;
    const int64_t count = counted_pixels(lengths, s, pixels);
    if (count == 0) {
      std::fill_n(y, channels, 0.0f);
      std::fill_n(place, channels, -1);
      continue;
    }
    const float* x = input + s * pixels * channels;
    for (int64_t c = 0; c < channels; ++c) {
      y[c] = x[c];
      place[c] = 0;
    }
    for (int64_t p = 1; p < count; ++p) {
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
    largest_pixels(n_, pixels_, channels_, lengths_in(run.inputs), run.inputs[0], run.output, places);
  }
  void backward(const OpBackward& run) override {
    check_gradients(run);
    float* dx = run.input_gradients[0];
    if (!dx) return;
    const auto* places = reinterpret_cast<const int32_t*>(run.saved);
    std::fill_n(dx, n_ * pixels_ * channels_, 0.0f);
    for (int64_t s = 0; s < n_; ++s)
      for (int64_t c = 0; c < channels_; ++c)
        if (const int64_t place = places[s * channels_ + c]; place >= 0)
          dx[(s * pixels_ + place) * channels_ + c] = run.output_gradient[s * channels_ + c];
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
  require_shape(spec.inputs.size() == 1 || (input.size() == 2 && spec.inputs[1] == Shape{1}),
                spec.type +
                    " takes a length for each sample, [1], of sequences [channels, length] alone, not " +
                    shape_text(spec.inputs.back()) + " of " + shape_text(input));
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
