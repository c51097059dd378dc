// SPDX-License-Identifier: Apache-2.0
// LayerNormalization (Ba, Kiros and Hinton 2016): each row of memory to mean 0 and variance 1, then scale and
// B; and RMSNormalization (Zhang and Sennrich 2019), which leaves the mean as it is. A row is the dimensions
// from `axis` on; an image [C, H, W] is normalised whole (axis = 1), and since its parameters are stored in
// ONNX order and its memory is channels-last, they are permuted in scratch. Sums: ops/lane_sum. Made by the
// table, run by model/executor.
#include <algorithm>
#include <cmath>

#include "base/simd.h"
#include "ops/lane_sum.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

struct RowStatistics {
  float mean, inverse;  ///< inverse = 1 / sqrt(variance + epsilon)
};

// Not `centred`: the mean counts as 0.
LEPTON_SIMD void normalise_rows(int64_t rows, int64_t width, bool centred, float epsilon, const float* x,
                                const float* scale, const float* shift, float* y, RowStatistics* statistics) {
  const float share = 1.0f / static_cast<float>(width);
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x + r * width;
    float* out = y + r * width;
    const auto element = [=](int64_t i) __attribute__((always_inline)) {
      return in[i];
    };
    const float mean = centred ? lane_sum(width, element) * share : 0.0f;
    const float variance = lane_sum(
                               width, [=
    ](int64_t i) __attribute__((always_inline)) { return (in[i] - mean) * (in[i] - mean); }) *
                           share;
    const float inverse = 1.0f / std::sqrt(variance + epsilon);
    for (int64_t i = 0; i < width; ++i) out[i] = (in[i] - mean) * inverse * scale[i] + shift[i];
    if (statistics) statistics[r] = {mean, inverse};
  }
}

// With xhat = (x - mean) inverse and h = dy scale:
//   dx = inverse (h - mean(h) - xhat mean(h xhat)),  dscale += dy xhat,  dB += dy.
// (not centred: mean(h) is left out)
LEPTON_SIMD void rows_backward(int64_t rows, int64_t width, bool centred, const float* x, const float* dy,
                               const float* scale, const RowStatistics* statistics, float* dx, float* dscale,
                               float* dshift) {
  const float share = 1.0f / static_cast<float>(width);
  for (int64_t r = 0; r < rows; ++r) {
    const float *in = x + r * width, *g = dy + r * width;
    const float mean = statistics[r].mean, inverse = statistics[r].inverse;
    for (int64_t i = 0; i < width; ++i) {
      dscale[i] += g[i] * ((in[i] - mean) * inverse);
      dshift[i] += g[i];
    }
    if (!dx) continue;
    const auto scaled = [=](int64_t i) __attribute__((always_inline)) {
      return g[i] * scale[i];
    };
    const float h = centred ? lane_sum(width, scaled) * share : 0.0f;
    const float hx = lane_sum(
                         width, [=
    ](int64_t i) __attribute__((always_inline)) { return g[i] * scale[i] * ((in[i] - mean) * inverse); }) *
                     share;
    float* out = dx + r * width;
    for (int64_t i = 0; i < width; ++i)
      out[i] = inverse * ((g[i] * scale[i] - h) - (in[i] - mean) * inverse * hx);
  }
}

class LayerNormOp : public Op {
 public:
  explicit LayerNormOp(const OpSpec& spec)
      : width_(element_count(spec.parameters[0])),
        rows_(spec.samples * element_count(spec.inputs[0]) / width_),
        epsilon_(static_cast<float>(float_attribute(spec.attributes, "epsilon", 1e-5))),
        training_(spec.training),
        centred_(spec.type == "LayerNormalization"),
        shift_(spec.parameters.size() > 1) {
    if (spec.layouts[0] == Layout::channels_last) channels_ = spec.inputs[0][0];
    pixels_ = width_ / channels_;
    MemoryPlan saved, scratch;
    if (training_) saved.add(static_cast<size_t>(rows_) * sizeof(RowStatistics));
    for (size_t& offset : offsets_) offset = scratch.add_floats(width_);
    saved_bytes_ = saved.bytes();
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override {
    const float* scale = to_memory(run.parameters[0], floats_at(run.scratch, offsets_[0]));
    float* zeros = floats_at(run.scratch, offsets_[1]);
    if (!shift_) std::fill_n(zeros, width_, 0.0f);
    const float* shift = shift_ ? to_memory(run.parameters[1], zeros) : zeros;
    auto* statistics = training_ ? reinterpret_cast<RowStatistics*>(run.saved) : nullptr;
    normalise_rows(rows_, width_, centred_, epsilon_, run.inputs[0], scale, shift, run.output, statistics);
  }

  void backward(const OpBackward& run) override {
    const float* scale = to_memory(run.parameters[0], floats_at(run.scratch, offsets_[0]));
    float *dscale = floats_at(run.scratch, offsets_[1]), *dshift = floats_at(run.scratch, offsets_[2]);
    std::fill_n(dscale, width_, 0.0f);
    std::fill_n(dshift, width_, 0.0f);
    rows_backward(rows_, width_, centred_, run.inputs[0], run.output_gradient, scale,
                  reinterpret_cast<const RowStatistics*>(run.saved), run.input_gradients[0], dscale, dshift);
    to_onnx(dscale, run.parameter_gradients[0]);
    if (shift_) to_onnx(dshift, run.parameter_gradients[1]);
  }

  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  /// ONNX order C, H, W to memory order H, W, C; what is no image is already in memory order.
  const float* to_memory(const float* onnx, float* memory) const {
    if (channels_ == 1 || pixels_ == 1) return onnx;
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t p = 0; p < pixels_; ++p) memory[p * channels_ + c] = onnx[c * pixels_ + p];
    return memory;
  }
  void to_onnx(const float* memory, float* onnx) const {
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t p = 0; p < pixels_; ++p) onnx[c * pixels_ + p] = memory[p * channels_ + c];
  }

  int64_t width_, rows_, channels_ = 1, pixels_ = 1;
  float epsilon_;
  bool training_, centred_, shift_;
  size_t offsets_[3] = {};
};

}  // namespace

Shape infer_layer_norm(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  const int64_t first = sample_axis(spec, "axis", -1);
  const Shape row(input.begin() + first, input.end());
  const bool shifts = spec.type == "LayerNormalization";
  require_shape(spec.parameters.size() == 1 || (shifts && spec.parameters.size() == 2),
                spec.type + (shifts ? " needs scale and B" : " needs scale alone"));
  for (const Shape& parameter : spec.parameters)
    require_shape(parameter == row, spec.type + " parameter " + shape_text(parameter) +
                                        " does not fit the normalised dimensions " + shape_text(row));
  return input;
}

std::unique_ptr<Op> make_layer_norm(const OpSpec& spec) {
  return std::make_unique<LayerNormOp>(spec);
}

}  // namespace lepton::ops
