// SPDX-License-Identifier: Apache-2.0
// GroupNormalization (Wu and He 2018; ONNX opset 21: scale and bias for each channel) and
// InstanceNormalization (Ulyanov et al. 2016), where each channel is a group: each sample's groups of
// channels to mean 0 and variance 1. Channels are last, so sums are taken for each channel over the pixels,
// in double and in order, then folded. Made by the table, run by model/executor. Twin: kernels/group_norm.cu.
#include "ops/group_norm_shape.h"

#include <algorithm>
#include <cmath>

#include "base/simd.h"

namespace lepton::ops {

namespace {

struct GroupStatistics {
  float mean, inverse;  ///< inverse = 1 / sqrt(variance + epsilon)
};

/// sums[c] = sum over pixels of x, or of (x - mean)^2.
LEPTON_SIMD void channel_sums(int64_t pixels, int64_t channels, const float* x, double* sums) {
  for (int64_t c = 0; c < channels; ++c) sums[c] = 0;
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t c = 0; c < channels; ++c) sums[c] += static_cast<double>(x[p * channels + c]);
}
LEPTON_SIMD void channel_squares(int64_t pixels, int64_t channels, const float* x, const float* mean,
                                 double* sums) {
  for (int64_t c = 0; c < channels; ++c) sums[c] = 0;
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t c = 0; c < channels; ++c) {
      const double d = static_cast<double>(x[p * channels + c]) - static_cast<double>(mean[c]);
      sums[c] += d * d;
    }
}
LEPTON_SIMD void normalise_image(int64_t pixels, int64_t channels, const float* x, const float* mean,
                                 const float* inverse, const float* scale, const float* bias, float* y) {
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = p * channels + c;
      y[i] = (x[i] - mean[c]) * inverse[c] * scale[c] + bias[c];
    }
}
/// Per channel, sums over pixels of dy and of dy xhat.
LEPTON_SIMD void gradient_sums(int64_t pixels, int64_t channels, const float* x, const float* dy,
                               const float* mean, const float* inverse, double* sums, double* products) {
  for (int64_t c = 0; c < channels; ++c) sums[c] = products[c] = 0;
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = p * channels + c;
      const float normalised = (x[i] - mean[c]) * inverse[c];
      sums[c] += static_cast<double>(dy[i]);
      products[c] += static_cast<double>(dy[i]) * static_cast<double>(normalised);
    }
}
/// dx = inverse (dy scale - h - xhat hx), h and hx the means over the group of dy scale and dy scale xhat
LEPTON_SIMD void image_gradient(int64_t pixels, int64_t channels, const float* x, const float* dy,
                                const float* mean, const float* inverse, const float* scale, const float* h,
                                const float* hx, float* dx) {
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = p * channels + c;
      const float normalised = (x[i] - mean[c]) * inverse[c];
      dx[i] = inverse[c] * ((dy[i] * scale[c] - h[c]) - normalised * hx[c]);
    }
}

class GroupNormOp : public Op {
 public:
  explicit GroupNormOp(const OpSpec& spec) : shape_(spec) {
    MemoryPlan saved, scratch;
    saved.add(static_cast<size_t>(shape_.samples * shape_.groups) * sizeof(GroupStatistics));
    for (size_t& offset : sums_) offset = scratch.add(static_cast<size_t>(shape_.channels) * sizeof(double));
    for (size_t& offset : of_channel_) offset = scratch.add_floats(shape_.channels);
    for (size_t& offset : totals_)
      offset = scratch.add(static_cast<size_t>(shape_.channels) * sizeof(double));
    saved_bytes_ = saved.bytes();
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override {
    const int64_t size = shape_.pixels * shape_.channels;
    auto* statistics = reinterpret_cast<GroupStatistics*>(run.saved);
    float *mean = floats_at(run.scratch, of_channel_[0]), *inverse = floats_at(run.scratch, of_channel_[1]);
    double* sums = doubles_at(run.scratch, sums_[0]);
    for (int64_t s = 0; s < shape_.samples; ++s, statistics += shape_.groups) {
      const float* x = run.inputs[0] + s * size;
      channel_sums(shape_.pixels, shape_.channels, x, sums);
      for (int64_t g = 0; g < shape_.groups; ++g)
        statistics[g].mean = static_cast<float>(group_mean(sums, g));
      spread(statistics, mean, inverse);
      channel_squares(shape_.pixels, shape_.channels, x, mean, sums);
      for (int64_t g = 0; g < shape_.groups; ++g)
        statistics[g].inverse =
            static_cast<float>(1.0 / std::sqrt(group_mean(sums, g) + static_cast<double>(shape_.epsilon)));
      spread(statistics, mean, inverse);
      normalise_image(shape_.pixels, shape_.channels, x, mean, inverse, run.parameters[0], run.parameters[1],
                      run.output + s * size);
    }
  }

  void backward(const OpBackward& run) override {
    const int64_t size = shape_.pixels * shape_.channels;
    const auto* statistics = reinterpret_cast<const GroupStatistics*>(run.saved);
    const float* scale = run.parameters[0];
    float *mean = floats_at(run.scratch, of_channel_[0]), *inverse = floats_at(run.scratch, of_channel_[1]);
    float *h = floats_at(run.scratch, of_channel_[2]), *hx = floats_at(run.scratch, of_channel_[3]);
    double *sums = doubles_at(run.scratch, sums_[0]), *products = doubles_at(run.scratch, sums_[1]);
    double *shifts = doubles_at(run.scratch, totals_[0]), *scales = doubles_at(run.scratch, totals_[1]);
    std::fill_n(shifts, shape_.channels, 0.0);
    std::fill_n(scales, shape_.channels, 0.0);
    for (int64_t s = 0; s < shape_.samples; ++s, statistics += shape_.groups) {
      const float *x = run.inputs[0] + s * size, *dy = run.output_gradient + s * size;
      spread(statistics, mean, inverse);
      gradient_sums(shape_.pixels, shape_.channels, x, dy, mean, inverse, sums, products);
      for (int64_t c = 0; c < shape_.channels; ++c) {
        shifts[c] += sums[c];
        scales[c] += products[c];
        sums[c] *= static_cast<double>(scale[c]);
        products[c] *= static_cast<double>(scale[c]);
      }
      if (!run.input_gradients[0]) continue;
      for (int64_t c = 0; c < shape_.channels; ++c) {
        h[c] = static_cast<float>(group_mean(sums, c / shape_.group_channels()));
        hx[c] = static_cast<float>(group_mean(products, c / shape_.group_channels()));
      }
      image_gradient(shape_.pixels, shape_.channels, x, dy, mean, inverse, scale, h, hx,
                     run.input_gradients[0] + s * size);
    }
    for (int64_t c = 0; c < shape_.channels; ++c) {
      run.parameter_gradients[0][c] = static_cast<float>(scales[c]);
      run.parameter_gradients[1][c] = static_cast<float>(shifts[c]);
    }
  }

  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  static double* doubles_at(std::byte* base, size_t offset) {
    return reinterpret_cast<double*>(base + offset);
  }
  double group_mean(const double* sums, int64_t group) const {
    double sum = 0;
    for (int64_t c = 0; c < shape_.group_channels(); ++c) sum += sums[group * shape_.group_channels() + c];
    return sum / static_cast<double>(shape_.group_elements());
  }
  /// Statistics of groups to their channels.
  void spread(const GroupStatistics* statistics, float* mean, float* inverse) const {
    for (int64_t c = 0; c < shape_.channels; ++c) {
      mean[c] = statistics[c / shape_.group_channels()].mean;
      inverse[c] = statistics[c / shape_.group_channels()].inverse;
    }
  }

  GroupNormShape shape_;
  size_t sums_[2] = {}, of_channel_[4] = {}, totals_[2] = {};
};

}  // namespace

std::unique_ptr<Op> make_group_norm(const OpSpec& spec) {
  return std::make_unique<GroupNormOp>(spec);
}

}  // namespace lepton::ops
