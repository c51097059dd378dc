// SPDX-License-Identifier: Apache-2.0
// BatchNormalization (Ioffe and Szegedy 2015) over the last, the channel, dimension of memory, with an optional
// fused Relu. Training uses the unit's own mean and biased variance (ghost batch norm, Hoffer et al. 2017) and
// hands out n * mean and n * variance; inference uses the running ones. Our own loops, vector over channels:
// the order of every sum is written out, so bits do not depend on the machine.
// Made by the table, run by model/executor.
#include <algorithm>
#include <cmath>

#include "base/simd.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

/// Rows are pixels of all samples; sums run over rows in blocks that stay in the first-level cache.
struct Rows {
  int64_t rows, channels;
  int64_t block() const { return std::max<int64_t>(4, 4096 / channels / 4 * 4); }
};

// sum[c] = sum over rows of x[r, c], four rows at a time.
[[gnu::always_inline]] inline void sum_block(int64_t rows, int64_t channels, const float* x, float* sum) {
  std::fill_n(sum, channels, 0.0f);
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float *a = x + r * channels, *b = a + channels, *c = b + channels, *d = c + channels;
    for (int64_t i = 0; i < channels; ++i) sum[i] += (a[i] + b[i]) + (c[i] + d[i]);
  }
  for (; r < rows; ++r)
    for (int64_t i = 0; i < channels; ++i) sum[i] += x[r * channels + i];
}

// sum[c] = sum over rows of (x[r, c] - centre[c])^2
[[gnu::always_inline]] inline void square_block(int64_t rows, int64_t channels, const float* x,
                                                const float* centre, float* sum) {
  std::fill_n(sum, channels, 0.0f);
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float *a = x + r * channels, *b = a + channels, *c = b + channels, *d = c + channels;
    for (int64_t i = 0; i < channels; ++i) {
      const float p = a[i] - centre[i], q = b[i] - centre[i], s = c[i] - centre[i], t = d[i] - centre[i];
      sum[i] += (p * p + q * q) + (s * s + t * t);
    }
  }
  for (; r < rows; ++r)
    for (int64_t i = 0; i < channels; ++i) {
      const float p = x[r * channels + i] - centre[i];
      sum[i] += p * p;
    }
}

/// Mean and sum of squared deviations, in double; `work` holds 2 * channels floats.
/// Blocks are joined by Chan, Golub and LeVeque 1983: M2 = M2a + M2b + delta^2 na nb / (na + nb).
LEPTON_SIMD void moments(const Rows& rows, const float* x, double* mean, double* m2, float* work) {
  const int64_t channels = rows.channels;
  float *sum = work, *centre = work + channels;
  std::fill_n(mean, channels, 0.0);
  std::fill_n(m2, channels, 0.0);
  for (int64_t begin = 0; begin < rows.rows; begin += rows.block()) {
    const int64_t count = std::min(rows.block(), rows.rows - begin);
    const float* block = x + begin * channels;
    const float inverse = 1.0f / static_cast<float>(count);
    sum_block(count, channels, block, sum);
    for (int64_t i = 0; i < channels; ++i) centre[i] = sum[i] * inverse;
    const double na = static_cast<double>(begin), nb = static_cast<double>(count), share = nb / (na + nb);
    for (int64_t i = 0; i < channels; ++i) {
      const double block_mean = static_cast<double>(sum[i]) / nb, delta = block_mean - mean[i];
      // The squares are taken around the rounded mean; what that adds is nb (mean - centre)^2.
      const double shift = block_mean - static_cast<double>(centre[i]);
      m2[i] += delta * delta * (na * share) - nb * shift * shift;
      mean[i] += delta * share;
    }
    square_block(count, channels, block, centre, sum);
    for (int64_t i = 0; i < channels; ++i) m2[i] += static_cast<double>(sum[i]);
  }
}

// y = (x - mean) factor + shift, then Relu if asked
LEPTON_SIMD void normalise(const Rows& rows, bool relu, const float* x, const float* mean, const float* factor,
                           const float* shift, float* y) {
  const int64_t channels = rows.channels;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const float* in = x + r * channels;
    float* out = y + r * channels;
    if (relu)
      for (int64_t i = 0; i < channels; ++i) {
        const float z = (in[i] - mean[i]) * factor[i] + shift[i];
        out[i] = z < 0.0f ? 0.0f : z;
      }
    else
      for (int64_t i = 0; i < channels; ++i) out[i] = (in[i] - mean[i]) * factor[i] + shift[i];
  }
}

/// What backward needs per channel. Relu's mask is computed again from x by forward's own formula.
struct Channels {
  const float *mean, *factor, *shift, *inverse;
};

// sums[c] = sum of dz, products[c] = sum of dz xhat (double); work: 2 * channels floats.
LEPTON_SIMD void gradient_sums(const Rows& rows, bool relu, const float* x, const float* dy, const Channels& k,
                               double* sums, double* products, float* work) {
  const int64_t channels = rows.channels;
  float *sum = work, *product = work + channels;
  std::fill_n(sums, channels, 0.0);
  std::fill_n(products, channels, 0.0);
  for (int64_t begin = 0; begin < rows.rows; begin += rows.block()) {
    std::fill_n(work, 2 * channels, 0.0f);
    const int64_t end = std::min(begin + rows.block(), rows.rows);
    int64_t r = begin;
    const auto term = [&](int64_t row, int64_t i, float& dz, float& dz_xhat) __attribute__((always_inline)) {
      const float centred = x[row * channels + i] - k.mean[i];
      const float g = dy[row * channels + i];
      dz = relu && !(centred * k.factor[i] + k.shift[i] > 0.0f) ? 0.0f : g;
      dz_xhat = dz * (centred * k.inverse[i]);
    };
    for (; r + 2 <= end; r += 2)
      for (int64_t i = 0; i < channels; ++i) {
        float a, b, c, d;
        term(r, i, a, b);
        term(r + 1, i, c, d);
        sum[i] += a + c;
        product[i] += b + d;
      }
    for (; r < end; ++r)
      for (int64_t i = 0; i < channels; ++i) {
        float a, b;
        term(r, i, a, b);
        sum[i] += a;
        product[i] += b;
      }
    for (int64_t i = 0; i < channels; ++i) {
      sums[i] += static_cast<double>(sum[i]);
      products[i] += static_cast<double>(product[i]);
    }
  }
}

// dx = scale / deviation (dz - sum(dz) / m - xhat sum(dz xhat) / m) = factor dz - offset - slope (x - mean)
LEPTON_SIMD void input_gradient(const Rows& rows, bool relu, const float* x, const float* dy, const Channels& k,
                                const float* offset, const float* slope, float* dx) {
  const int64_t channels = rows.channels;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const float *in = x + r * channels, *g = dy + r * channels;
    float* out = dx + r * channels;
    for (int64_t i = 0; i < channels; ++i) {
      const float centred = in[i] - k.mean[i];
      const float dz = relu && !(centred * k.factor[i] + k.shift[i] > 0.0f) ? 0.0f : g[i];
      out[i] = (k.factor[i] * dz - offset[i]) - slope[i] * centred;
    }
  }
}

class BatchNormOp : public Op {
 public:
  explicit BatchNormOp(const OpSpec& spec)
      : training_(spec.training),
        relu_(spec.activation == "Relu"),
        n_(spec.samples),
        channels_(spec.inputs[0][0]),
        epsilon_(float_attribute(spec.attributes, "epsilon", 1e-5)) {
    rows_ = {spec.samples * element_count(spec.inputs[0]) / channels_, channels_};
    MemoryPlan saved, scratch;
    if (training_) saved.add_floats(4 * channels_);
    scratch.add_floats(4 * channels_);
    doubles_ = scratch.add(static_cast<size_t>(2 * channels_) * sizeof(double));
    saved_bytes_ = saved.bytes();
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override {
    const float *scale = run.parameters[0], *shift = run.parameters[1];
    float* mean = floats_at(training_ ? run.saved : run.scratch, 0);
    float *factor = mean + channels_, *kept_shift = factor + channels_, *inverse = kept_shift + channels_;
    auto* means = reinterpret_cast<double*>(run.scratch + doubles_);
    double* m2 = means + channels_;
    if (training_) moments(rows_, run.inputs[0], means, m2, floats_at(run.scratch, 0));
    for (int64_t c = 0; c < channels_; ++c) {
      const double variance = training_ ? std::max(m2[c], 0.0) / static_cast<double>(rows_.rows)
                                        : static_cast<double>(run.parameters[3][c]);
      const double deviation = std::sqrt(variance + epsilon_);
      if (training_) {
        // A NaN must reach the output, and std::max(NaN, 0) keeps it.
        run.statistics[0][c] = static_cast<float>(means[c] * static_cast<double>(n_));
        run.statistics[1][c] = static_cast<float>(variance * static_cast<double>(n_));
      }
      mean[c] = training_ ? static_cast<float>(means[c]) : run.parameters[2][c];
      factor[c] = static_cast<float>(static_cast<double>(scale[c]) / deviation);
      kept_shift[c] = shift[c];
      inverse[c] = static_cast<float>(1.0 / deviation);
    }
    normalise(rows_, relu_, run.inputs[0], mean, factor, kept_shift, run.output);
  }

  void backward(const OpBackward& run) override {
    const float* saved = floats_at(run.saved, 0);
    const Channels k{saved, saved + channels_, saved + 2 * channels_, saved + 3 * channels_};
    auto* sums = reinterpret_cast<double*>(run.scratch + doubles_);
    double* products = sums + channels_;
    float *offset = floats_at(run.scratch, 0), *slope = offset + channels_;
    gradient_sums(rows_, relu_, run.inputs[0], run.output_gradient, k, sums, products, offset);
    const double share = 1.0 / static_cast<double>(rows_.rows);
    for (int64_t c = 0; c < channels_; ++c) {
      run.parameter_gradients[0][c] = static_cast<float>(products[c]);
      run.parameter_gradients[1][c] = static_cast<float>(sums[c]);
      const double factor = static_cast<double>(k.factor[c]), inverse = static_cast<double>(k.inverse[c]);
      offset[c] = static_cast<float>(factor * sums[c] * share);
      slope[c] = static_cast<float>(factor * inverse * products[c] * share);
    }
    if (run.input_gradients[0])
      input_gradient(rows_, relu_, run.inputs[0], run.output_gradient, k, offset, slope, run.input_gradients[0]);
  }

  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }
  bool in_place() const override { return !training_; }

 private:
  bool training_, relu_;
  int64_t n_, channels_;
  double epsilon_;
  Rows rows_{};
  size_t doubles_ = 0;
};

}  // namespace

Shape infer_batch_norm(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  require_shape(input.size() == 1 || input.size() == 3,
                "BatchNormalization needs [features] or [channels, height, width], not " + shape_text(input));
  require_shape(spec.parameters.size() == 4, "BatchNormalization needs scale, B, mean and variance");
  for (const Shape& parameter : spec.parameters)
    require_shape(parameter == Shape{input[0]}, "BatchNormalization parameter " + shape_text(parameter) +
                                                    " does not fit the input " + shape_text(input));
  return input;
}

std::unique_ptr<Op> make_batch_norm(const OpSpec& spec) { return std::make_unique<BatchNormOp>(spec); }

}  // namespace lepton::ops
