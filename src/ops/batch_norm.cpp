// SPDX-License-Identifier: Apache-2.0
// BatchNormalization (Ioffe and Szegedy 2015) over the last, the channel, dimension of memory, with an
// optional fused Relu. Training uses the unit's own mean and biased variance (ghost batch norm, Hoffer et al.
// 2017) and hands out n * mean and n * the unbiased variance, as PyTorch; inference uses the running ones,
// and so does training with the attribute training_mode = 0 (ONNX's, but 1 where it is absent), which then
// hands out nothing. Our own loops, vector over channels: the order of every sum is written out, so bits do
// not depend on the machine. Made by the table, run by model/executor.
#include <algorithm>
#include <cmath>

#include "base/simd.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

/// Memory as a matrix of rows x width. With few channels several pixels make one row (width = channels *
/// fold), so that inner loops are long; what belongs to a channel is then repeated `fold` times, and its sums
/// are joined.
struct Rows {
  int64_t rows, width;
  /// Rows whose sums are taken in float, 32 KiB, before they go on in double.
  int64_t block() const { return std::max<int64_t>(4, 8192 / width); }
};

int64_t fold_of(int64_t pixels, int64_t channels) {
  int64_t fold = 1;
  while (pixels % (2 * fold) == 0 && channels * 2 * fold <= 256) fold *= 2;
  return fold;
}

// sum[i] = sum over rows of x[r, i], four rows at a time.
[[gnu::always_inline]] inline void sum_block(int64_t rows, int64_t width, const float* __restrict x,
                                             float* __restrict sum) {
  std::fill_n(sum, width, 0.0f);
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float *a = x + r * width, *b = a + width, *c = b + width, *d = c + width;
    for (int64_t i = 0; i < width; ++i) sum[i] += (a[i] + b[i]) + (c[i] + d[i]);
  }
  for (; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i) sum[i] += x[r * width + i];
}

// sum[i] = sum over rows of (x[r, i] - centre[i])^2
[[gnu::always_inline]] inline void square_block(int64_t rows, int64_t width, const float* __restrict x,
                                                const float* __restrict centre, float* __restrict sum) {
  std::fill_n(sum, width, 0.0f);
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float *a = x + r * width, *b = a + width, *c = b + width, *d = c + width;
    for (int64_t i = 0; i < width; ++i) {
      const float p = a[i] - centre[i], q = b[i] - centre[i], s = c[i] - centre[i], t = d[i] - centre[i];
      sum[i] += (p * p + q * q) + (s * s + t * t);
    }
  }
  for (; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i) {
      const float p = x[r * width + i] - centre[i];
      sum[i] += p * p;
    }
}

/// Mean and sum of squared deviations of each column, in double; `work` holds 2 * width floats.
/// Blocks are joined by Chan, Golub and LeVeque 1983: M2 = M2a + M2b + delta^2 na nb / (na + nb).
LEPTON_SIMD void moments(const Rows& rows, const float* x, double* __restrict mean, double* __restrict m2,
                         float* __restrict work) {
  const int64_t width = rows.width;
  float* __restrict sum = work, * __restrict centre = work + width;
  std::fill_n(mean, width, 0.0);
  std::fill_n(m2, width, 0.0);
  for (int64_t begin = 0; begin < rows.rows; begin += rows.block()) {
    const int64_t count = std::min(rows.block(), rows.rows - begin);
    const float* block = x + begin * width;
    const float inverse = 1.0f / static_cast<float>(count);
    sum_block(count, width, block, sum);
    for (int64_t i = 0; i < width; ++i) centre[i] = sum[i] * inverse;
    const double na = static_cast<double>(begin), nb = static_cast<double>(count), share = nb / (na + nb);
    const double per_row = 1.0 / nb, weight = na * share;
    for (int64_t i = 0; i < width; ++i) {
      const double block_mean = static_cast<double>(sum[i]) * per_row, delta = block_mean - mean[i];
      // The squares are taken around the rounded mean; what that adds is nb (mean - centre)^2.
      const double shift = block_mean - static_cast<double>(centre[i]);
      m2[i] += delta * delta * weight - nb * shift * shift;
      mean[i] += delta * share;
    }
    square_block(count, width, block, centre, sum);
    for (int64_t i = 0; i < width; ++i) m2[i] += static_cast<double>(sum[i]);
  }
}

/// What the loops need per column. Relu's mask is computed again from x by forward's own formula.
struct Columns {
  const float *mean, *factor, *shift, *inverse;
};

// y = (x - mean) factor + shift, then Relu if asked
template <bool relu>
[[gnu::always_inline]] inline void normalise_rows(const Rows& rows, const float* __restrict x,
                                                  const Columns& k, float* __restrict y) {
  const float* __restrict mean = k.mean, * __restrict factor = k.factor, * __restrict shift = k.shift;
  for (int64_t r = 0; r < rows.rows; ++r, x += rows.width, y += rows.width)
    for (int64_t i = 0; i < rows.width; ++i) {
      const float z = (x[i] - mean[i]) * factor[i] + shift[i];
      y[i] = relu && z < 0.0f ? 0.0f : z;
    }
}

LEPTON_SIMD void normalise(const Rows& rows, bool relu, const float* x, const Columns& k, float* y) {
  if (relu)
    normalise_rows<true>(rows, x, k, y);
  else
    normalise_rows<false>(rows, x, k, y);
}

/// One element of backward: dz, masked by Relu if it is fused, and dz times what xhat is a multiple of.
template <bool relu>
[[gnu::always_inline]] inline float masked(float centred, float factor, float shift, float dy) {
  const float z = centred * factor + shift;
  return relu ? (z > 0.0f ? dy : 0.0f) : dy;
}

// sum[i] = sum of dz, product[i] = sum of dz xhat over a block of rows
template <bool relu>
[[gnu::always_inline]] inline void gradient_block(int64_t rows, int64_t width, const float* __restrict x,
                                                  const float* __restrict dy, const Columns& k,
                                                  float* __restrict sum, float* __restrict product) {
  const float* __restrict mean = k.mean, * __restrict factor = k.factor, * __restrict shift = k.shift;
  std::fill_n(sum, width, 0.0f);
  std::fill_n(product, width, 0.0f);
  int64_t r = 0;
  for (; r + 2 <= rows; r += 2, x += 2 * width, dy += 2 * width) {
    const float* __restrict x2 = x + width, * __restrict dy2 = dy + width;
    for (int64_t i = 0; i < width; ++i) {
      const float a = x[i] - mean[i], b = x2[i] - mean[i];
      const float da = masked<relu>(a, factor[i], shift[i], dy[i]),
                  db = masked<relu>(b, factor[i], shift[i], dy2[i]);
      sum[i] += da + db;
      product[i] += da * a + db * b;
    }
  }
  if (r < rows)
    for (int64_t i = 0; i < width; ++i) {
      const float a = x[i] - mean[i], da = masked<relu>(a, factor[i], shift[i], dy[i]);
      sum[i] += da;
      product[i] += da * a;
    }
}

// sums[i] = sum of dz, products[i] = sum of dz (x - mean), in double; work: 2 * width floats.
LEPTON_SIMD void gradient_sums(const Rows& rows, bool relu, const float* x, const float* dy, const Columns& k,
                               double* __restrict sums, double* __restrict products, float* __restrict work) {
  const int64_t width = rows.width;
  float* __restrict sum = work, * __restrict product = work + width;
  std::fill_n(sums, width, 0.0);
  std::fill_n(products, width, 0.0);
  for (int64_t begin = 0; begin < rows.rows; begin += rows.block()) {
    const int64_t count = std::min(rows.block(), rows.rows - begin);
    if (relu)
      gradient_block<true>(count, width, x + begin * width, dy + begin * width, k, sum, product);
    else
      gradient_block<false>(count, width, x + begin * width, dy + begin * width, k, sum, product);
    for (int64_t i = 0; i < width; ++i) {
      sums[i] += static_cast<double>(sum[i]);
      products[i] += static_cast<double>(product[i]);
    }
  }
}

// dx = scale / deviation (dz - sum(dz) / m - xhat sum(dz xhat) / m) = factor dz - offset - slope (x - mean)
template <bool relu>
[[gnu::always_inline]] inline void input_gradient_rows(const Rows& rows, const float* __restrict x,
                                                       const float* __restrict dy, const Columns& k,
                                                       const float* __restrict offset,
                                                       const float* __restrict slope, float* __restrict dx) {
  const float* __restrict mean = k.mean, * __restrict factor = k.factor, * __restrict shift = k.shift;
  const int64_t width = rows.width;
  for (int64_t r = 0; r < rows.rows; ++r, x += width, dy += width, dx += width)
    for (int64_t i = 0; i < width; ++i) {
      const float centred = x[i] - mean[i];
      dx[i] =
          (factor[i] * masked<relu>(centred, factor[i], shift[i], dy[i]) - offset[i]) - slope[i] * centred;
    }
}

LEPTON_SIMD void input_gradient(const Rows& rows, bool relu, const float* x, const float* dy,
                                const Columns& k, const float* offset, const float* slope, float* dx) {
  if (relu)
    input_gradient_rows<true>(rows, x, dy, k, offset, slope, dx);
  else
    input_gradient_rows<false>(rows, x, dy, k, offset, slope, dx);
}

/// What makes of the mean of squared deviations an estimate without bias (Bessel).
double unbiased(int64_t pixels) {
  return pixels > 1 ? static_cast<double>(pixels) / static_cast<double>(pixels - 1) : 1.0;
}

class BatchNormOp : public Op {
 public:
  explicit BatchNormOp(const OpSpec& spec)
      : backward_(spec.training),
        training_(spec.training && int_attribute(spec.attributes, "training_mode", 1) != 0),
        relu_(spec.activation == "Relu"),
        n_(spec.samples),
        channels_(spec.inputs[0][0]),
        pixels_(spec.samples * element_count(spec.inputs[0]) / channels_),
        fold_(fold_of(pixels_, channels_)),
        rows_{pixels_ / fold_, channels_ * fold_},
        epsilon_(float_attribute(spec.attributes, "epsilon", 1e-5)) {
    MemoryPlan saved, scratch;
    if (backward_) saved.add_floats(4 * rows_.width);
    scratch.add_floats(4 * rows_.width);
    doubles_ = scratch.add(static_cast<size_t>(2 * rows_.width) * sizeof(double));
    saved_bytes_ = saved.bytes();
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override {
    float* mean = floats_at(backward_ ? run.saved : run.scratch, 0);
    float *factor = mean + rows_.width, *shift = factor + rows_.width, *inverse = shift + rows_.width;
    auto* means = reinterpret_cast<double*>(run.scratch + doubles_);
    if (training_) moments(rows_, run.inputs[0], means, means + rows_.width, floats_at(run.scratch, 0));
    for (int64_t c = 0; c < channels_; ++c) {
      double centre = 0, variance = 0;
      if (training_) {
        join(means, c, centre, variance);
        run.statistics[0][c] = static_cast<float>(centre * static_cast<double>(n_));
        run.statistics[1][c] = static_cast<float>(variance * unbiased(pixels_) * static_cast<double>(n_));
      } else {
        centre = static_cast<double>(run.parameters[2][c]);
        variance = static_cast<double>(run.parameters[3][c]);
      }
      const double deviation = std::sqrt(variance + epsilon_);
      repeat(mean, c, centre);
      repeat(factor, c, static_cast<double>(run.parameters[0][c]) / deviation);
      repeat(shift, c, static_cast<double>(run.parameters[1][c]));
      repeat(inverse, c, 1.0 / deviation);
    }
    normalise(rows_, relu_, run.inputs[0], {mean, factor, shift, inverse}, run.output);
  }

  void backward(const OpBackward& run) override {
    const float* saved = floats_at(run.saved, 0);
    const int64_t width = rows_.width;
    const Columns k{saved, saved + width, saved + 2 * width, saved + 3 * width};
    auto* sums = reinterpret_cast<double*>(run.scratch + doubles_);
    float *offset = floats_at(run.scratch, 0), *slope = offset + width;
    gradient_sums(rows_, relu_, run.inputs[0], run.output_gradient, k, sums, sums + width, offset);
    // Running statistics do not depend on x: then dx = factor dz.
    const double share = training_ ? 1.0 / static_cast<double>(pixels_) : 0.0;
    for (int64_t c = 0; c < channels_; ++c) {
      const double factor = static_cast<double>(k.factor[c]), inverse = static_cast<double>(k.inverse[c]);
      double sum = 0, product = 0;
      for (int64_t i = c; i < width; i += channels_) {
        sum += sums[i];
        product += sums[width + i];
      }
      run.parameter_gradients[0][c] = static_cast<float>(product * inverse);
      run.parameter_gradients[1][c] = static_cast<float>(sum);
      repeat(offset, c, factor * sum * share);
      repeat(slope, c, factor * inverse * inverse * product * share);
    }
    if (run.input_gradients[0])
      input_gradient(rows_, relu_, run.inputs[0], run.output_gradient, k, offset, slope,
                     run.input_gradients[0]);
  }

  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }
  bool in_place() const override { return !backward_; }

 private:
  void repeat(float* columns, int64_t channel, double value) const {
    for (int64_t i = channel; i < rows_.width; i += channels_) columns[i] = static_cast<float>(value);
  }
  /// One channel's mean and biased variance from its columns', which all have as many rows.
  void join(const double* means, int64_t channel, double& mean, double& variance) const {
    const double* m2 = means + rows_.width;
    double sum = 0, squares = 0;
    for (int64_t i = channel; i < rows_.width; i += channels_) sum += means[i];
    mean = sum / static_cast<double>(fold_);
    for (int64_t i = channel; i < rows_.width; i += channels_) {
      const double delta = means[i] - mean;
      squares += m2[i] + delta * delta * static_cast<double>(rows_.rows);
    }
    variance = std::max(squares, 0.0) / static_cast<double>(pixels_);  // std::max(NaN, 0) is NaN
  }

  bool backward_, training_, relu_;  // a backward follows; by the unit's own statistics
  int64_t n_, channels_, pixels_, fold_;
  Rows rows_;
  double epsilon_;
  size_t doubles_ = 0;
};

}  // namespace

Shape infer_batch_norm(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  require_shape(spec.parameters.size() == 4, "BatchNormalization needs scale, B, mean and variance");
  for (const Shape& parameter : spec.parameters)
    require_shape(parameter == Shape{input[0]}, "BatchNormalization parameter " + shape_text(parameter) +
                                                    " does not fit the input " + shape_text(input));
  return input;
}

std::unique_ptr<Op> make_batch_norm(const OpSpec& spec) {
  return std::make_unique<BatchNormOp>(spec);
}

}  // namespace lepton::ops
