// SPDX-License-Identifier: Apache-2.0
// BatchNormalization (Ioffe and Szegedy 2015) over channels, the last dimension of memory, with an optional
// fused Relu; the twin of src/ops/batch_norm.cpp. Not cuDNN's, because the host's semantics must hold exactly
// (n * mean and n * unbiased variance of the unit, Relu's mask computed again from x) and every bit must be
// reproducible. Sums are taken in double in two stages: blocks leave partial sums, a second kernel joins
// them; how rows are cut depends on the shape alone, also where a pointer rules float4 out. Created by
// make_batch_norm, for kernels/engine.cu.
#include <algorithm>

#include "kernels/operators.h"
#include "kernels/pack.h"
#include "kernels/team.h"
#include "ops/operators.h"

namespace lepton::cuda {

namespace {

/// Memory as a matrix of rows (pixels) x channels, cut into tiles of channels and slices of rows. A block is
/// `lanes` threads across channels times `team` threads down rows, and takes every slices-th team of rows.
struct Cut {
  int64_t rows, channels;
  int lanes, team, slices;

  Cut(int64_t rows, int64_t channels) : rows(rows), channels(channels) {
    const int64_t groups = channels % 4 == 0 ? channels / 4 : channels, tiles = (groups + 31) / 32;
    lanes = static_cast<int>((groups + tiles - 1) / tiles);
    team = static_cast<int>(std::min<int64_t>(threads / lanes, rows));
    // At least four rows for each thread, and some 512 blocks at most: enough for any device, few to join.
    const int64_t most = std::max<int64_t>(1, 512 / tiles), wanted = (rows + 4 * team - 1) / (4 * team);
    slices = static_cast<int>(std::min(most, wanted));
  }
  dim3 block() const { return dim3(lanes, team); }
  dim3 grid(int width, int64_t down) const {
    return dim3(blocks_for(channels, lanes * width), static_cast<unsigned>(down));
  }
  /// Rows of blocks for elementwise work, where their number does not change bits.
  int64_t down(const Context& context) const {
    const int64_t across = blocks_for(channels, 4 * lanes), most = 8 * context.multiprocessors / across;
    return std::min<int64_t>({std::max<int64_t>(1, most), (rows + team - 1) / team, 65535});
  }
  size_t partial_bytes() const { return static_cast<size_t>(2 * slices * channels) * sizeof(double); }
};

template <int width>
__device__ inline int64_t first_channel() {
  return (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * width;
}
__device__ inline int64_t first_row() {
  return static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y;
}
__device__ inline int64_t row_step() {
  return static_cast<int64_t>(gridDim.y) * blockDim.y;
}

// partial[slice][0 or 1][channel]
template <int width>
__device__ void leave_partial(const Cut& cut, int64_t channel, double (&a)[width], double (&b)[width],
                              double* partial) {
  fold_team<width>(a, b);
  if (threadIdx.y != 0 || channel >= cut.channels) return;
  double* to = partial + 2 * blockIdx.y * cut.channels + channel;
  for (int k = 0; k < width; ++k) {
    to[k] = a[k];
    to[cut.channels + k] = b[k];
  }
}

/// The second stage, one channel for each threadIdx.x. True in the thread that then has the channel's sums.
__device__ bool join_partial(const Cut& cut, int64_t channel, const double* partial, double& a, double& b) {
  double sum_a[1] = {}, sum_b[1] = {};
  if (channel < cut.channels)
    for (int64_t slice = threadIdx.y; slice < cut.slices; slice += blockDim.y) {
      const double* from = partial + 2 * slice * cut.channels + channel;
      sum_a[0] += from[0];
      sum_b[0] += from[cut.channels];
    }
  fold_team<1>(sum_a, sum_b);
  a = sum_a[0];
  b = sum_b[0];
  return threadIdx.y == 0 && channel < cut.channels;
}

/// What elementwise loops need per channel. Relu's mask is computed again from x by forward's own formula.
struct Columns {
  float *mean, *factor, *shift, *inverse;
};
struct Affine {
  const float *scale, *shift;
  double epsilon;
};

__device__ inline void set_columns(int64_t c, double mean, double variance, const Affine& affine,
                                   const Columns& to) {
  const double deviation = sqrt(variance + affine.epsilon);
  to.mean[c] = static_cast<float>(mean);
  to.factor[c] = static_cast<float>(static_cast<double>(affine.scale[c]) / deviation);
  to.shift[c] = affine.shift[c];
  to.inverse[c] = static_cast<float>(1.0 / deviation);
}

// Sums of d and d^2 with d = x - pivot, the channel's first value: in double, where products of floats are
// exact and a channel far from zero (or constant) loses nothing to cancellation.
template <int width>
__global__ void __launch_bounds__(threads)
    moment_sums(Cut cut, const float* __restrict__ x, double* __restrict__ partial) {
  const int64_t channel = first_channel<width>(), step = row_step();
  double sum[width] = {}, square[width] = {};
  if (channel < cut.channels) {
    const Pack<float, width> pivot = load<width>(x + channel);
#pragma unroll 4
    for (int64_t row = first_row(); row < cut.rows; row += step) {
      const Pack<float, width> in = load<width>(x + row * cut.channels + channel);
      for (int k = 0; k < width; ++k) {
        const double d = static_cast<double>(in.v[k]) - static_cast<double>(pivot.v[k]);
        sum[k] += d;
        square[k] += d * d;
      }
    }
  }
  leave_partial<width>(cut, channel, sum, square, partial);
}

// mean = pivot + sum d / m, variance = (sum d^2 - (sum d)^2 / m) / m
__global__ void __launch_bounds__(threads)
    finish_moments(Cut cut, const float* __restrict__ x, const double* __restrict__ partial, double n,
                   Affine affine, Columns columns, float* __restrict__ n_mean,
                   float* __restrict__ n_variance) {
  const int64_t c = first_channel<1>();
  double sum, square;
  if (!join_partial(cut, c, partial, sum, square)) return;
  const double rows = static_cast<double>(cut.rows), offset = sum / rows;
  const double mean = static_cast<double>(x[c]) + offset, deviations = square - sum * offset;
  const double variance = (deviations < 0.0 ? 0.0 : deviations) / rows;  // NaN stays
  n_mean[c] = static_cast<float>(mean * n);
  n_variance[c] = static_cast<float>(variance * (cut.rows > 1 ? rows / (rows - 1.0) : 1.0) * n);  // unbiased
  set_columns(c, mean, variance, affine, columns);
}

__global__ void __launch_bounds__(threads)
    running_columns(int64_t channels, const float* mean, const float* variance, Affine affine,
                    Columns columns) {
  const int64_t c = first_channel<1>();
  if (c < channels)
    set_columns(c, static_cast<double>(mean[c]), static_cast<double>(variance[c]), affine, columns);
}

// y = (x - mean) factor + shift, then Relu if asked. y may be x.
template <int width>
__global__ void __launch_bounds__(threads)
    normalise(Cut cut, bool relu, const float* x, Columns columns, float* y) {
  const int64_t channel = first_channel<width>(), step = row_step();
  if (channel >= cut.channels) return;
  const Pack<float, width> mean = load<width>(columns.mean + channel),
                           factor = load<width>(columns.factor + channel),
                           shift = load<width>(columns.shift + channel);
#pragma unroll 2
  for (int64_t row = first_row(); row < cut.rows; row += step) {
    Pack<float, width> pack = load<width>(x + row * cut.channels + channel);
    for (int k = 0; k < width; ++k) {
      const float z = (pack.v[k] - mean.v[k]) * factor.v[k] + shift.v[k];
      pack.v[k] = relu && z < 0.0f ? 0.0f : z;
    }
    store<width>(y + row * cut.channels + channel, pack);
  }
}

/// dz: dy, masked by Relu if it is fused.
__device__ inline float masked(bool relu, float centred, float factor, float shift, float dy) {
  return relu && !(centred * factor + shift > 0.0f) ? 0.0f : dy;
}

// Sums of dz and of dz (x - mean).
template <int width>
__global__ void __launch_bounds__(threads)
    gradient_sums(Cut cut, bool relu, const float* __restrict__ x, const float* __restrict__ dy,
                  Columns columns, double* __restrict__ partial) {
  const int64_t channel = first_channel<width>(), step = row_step();
  double sum[width] = {}, product[width] = {};
  if (channel < cut.channels) {
    const Pack<float, width> mean = load<width>(columns.mean + channel),
                             factor = load<width>(columns.factor + channel),
                             shift = load<width>(columns.shift + channel);
#pragma unroll 2
    for (int64_t row = first_row(); row < cut.rows; row += step) {
      const int64_t at = row * cut.channels + channel;
      const Pack<float, width> in = load<width>(x + at), gradient = load<width>(dy + at);
      for (int k = 0; k < width; ++k) {
        const float centred = in.v[k] - mean.v[k];
        const double dz = masked(relu, centred, factor.v[k], shift.v[k], gradient.v[k]);
        sum[k] += dz;
        product[k] += dz * static_cast<double>(centred);
      }
    }
  }
  leave_partial<width>(cut, channel, sum, product, partial);
}

/// What dx needs per channel beside Columns.
struct Pull {
  float *offset, *slope;
};

__global__ void __launch_bounds__(threads)
    finish_gradients(Cut cut, bool unit_statistics, const double* __restrict__ partial, Columns columns,
                     Pull pull, float* __restrict__ dscale, float* __restrict__ dshift) {
  const int64_t c = first_channel<1>();
  double sum, product;
  if (!join_partial(cut, c, partial, sum, product)) return;
  const double factor = static_cast<double>(columns.factor[c]),
               inverse = static_cast<double>(columns.inverse[c]),
               share = unit_statistics ? 1.0 / static_cast<double>(cut.rows) : 0.0;
  dscale[c] = static_cast<float>(product * inverse);
  dshift[c] = static_cast<float>(sum);
  pull.offset[c] = static_cast<float>(factor * sum * share);
  pull.slope[c] = static_cast<float>(factor * inverse * inverse * product * share);
}

// dx = scale / deviation (dz - sum(dz) / m - xhat sum(dz xhat) / m) = factor dz - offset - slope (x - mean)
template <int width>
__global__ void __launch_bounds__(threads)
    input_gradient(Cut cut, bool relu, const float* __restrict__ x, const float* __restrict__ dy,
                   Columns columns, Pull pull, float* __restrict__ dx) {
  const int64_t channel = first_channel<width>(), step = row_step();
  if (channel >= cut.channels) return;
  const Pack<float, width> mean = load<width>(columns.mean + channel),
                           factor = load<width>(columns.factor + channel),
                           shift = load<width>(columns.shift + channel),
                           offset = load<width>(pull.offset + channel),
                           slope = load<width>(pull.slope + channel);
  for (int64_t row = first_row(); row < cut.rows; row += step) {
    const int64_t at = row * cut.channels + channel;
    const Pack<float, width> in = load<width>(x + at), gradient = load<width>(dy + at);
    Pack<float, width> out;
    for (int k = 0; k < width; ++k) {
      const float centred = in.v[k] - mean.v[k];
      const float dz = masked(relu, centred, factor.v[k], shift.v[k], gradient.v[k]);
      out.v[k] = (factor.v[k] * dz - offset.v[k]) - slope.v[k] * centred;
    }
    store<width>(dx + at, out);
  }
}

class BatchNormOp : public ops::Op {
 public:
  BatchNormOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        backward_(spec.training),
        training_(spec.training && ops::int_attribute(spec.attributes, "training_mode", 1) != 0),
        relu_(spec.activation == "Relu"),
        n_(spec.samples),
        cut_(spec.samples * element_count(spec.inputs[0]) / spec.inputs[0][0], spec.inputs[0][0]),
        epsilon_(ops::float_attribute(spec.attributes, "epsilon", 1e-5)) {
    ops::MemoryPlan saved, scratch;
    for (size_t& offset : columns_) offset = (backward_ ? saved : scratch).add_floats(cut_.channels);
    if (backward_) {
      for (size_t& offset : pull_) offset = scratch.add_floats(cut_.channels);
      partial_ = scratch.add(cut_.partial_bytes());
    }
    saved_bytes_ = saved.bytes();
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const ops::OpForward& run) override {
    const Columns columns = columns_at(backward_ ? run.saved : run.scratch);
    const Affine affine{run.parameters[0], run.parameters[1], epsilon_};
    const float* x = run.inputs[0];
    float* y = run.output;
    if (training_) {
      auto* partial = reinterpret_cast<double*>(run.scratch + partial_);
      with_width(four_wide(x, x), [&](auto width) {
        moment_sums<width>
            <<<cut_.grid(width, cut_.slices), cut_.block(), 0, context_.stream>>>(cut_, x, partial);
      });
      check_launch("moment_sums");
      finish_moments<<<joins(), join_block(), 0, context_.stream>>>(
          cut_, x, partial, static_cast<double>(n_), affine, columns, run.statistics[0], run.statistics[1]);
      check_launch("finish_moments");
    } else {
      running_columns<<<blocks_for(cut_.channels, threads), threads, 0, context_.stream>>>(
          cut_.channels, run.parameters[2], run.parameters[3], affine, columns);
      check_launch("running_columns");
    }
    with_width(four_wide(x, y), [&](auto width) {
      normalise<width><<<cut_.grid(width, cut_.down(context_)), cut_.block(), 0, context_.stream>>>(
          cut_, relu_, x, columns, y);
    });
    check_launch("normalise");
  }

  void backward(const ops::OpBackward& run) override {
    const Columns columns = columns_at(run.saved);
    const Pull pull{ops::floats_at(run.scratch, pull_[0]), ops::floats_at(run.scratch, pull_[1])};
    auto* partial = reinterpret_cast<double*>(run.scratch + partial_);
    const float *x = run.inputs[0], *dy = run.output_gradient;
    float* dx = run.input_gradients[0];
    with_width(four_wide(x, dy), [&](auto width) {
      gradient_sums<width><<<cut_.grid(width, cut_.slices), cut_.block(), 0, context_.stream>>>(
          cut_, relu_, x, dy, columns, partial);
    });
    check_launch("gradient_sums");
    finish_gradients<<<joins(), join_block(), 0, context_.stream>>>(
        cut_, training_, partial, columns, pull, run.parameter_gradients[0], run.parameter_gradients[1]);
    check_launch("finish_gradients");
    if (!dx) return;
    with_width(four_wide(x, dy) && four_wide(dx, dx), [&](auto width) {
      input_gradient<width><<<cut_.grid(width, cut_.down(context_)), cut_.block(), 0, context_.stream>>>(
          cut_, relu_, x, dy, columns, pull, dx);
    });
    check_launch("input_gradient");
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }
  bool in_place() const override { return !backward_; }

 private:
  bool four_wide(const float* a, const float* b) const {
    return cut_.channels % 4 == 0 && is_aligned(a) && is_aligned(b);
  }
  Columns columns_at(std::byte* base) const {
    return {ops::floats_at(base, columns_[0]), ops::floats_at(base, columns_[1]),
            ops::floats_at(base, columns_[2]), ops::floats_at(base, columns_[3])};
  }
  dim3 join_block() const {
    const int team = std::min(32, cut_.slices);
    return dim3(threads / team, team);
  }
  unsigned joins() const { return blocks_for(cut_.channels, static_cast<int>(join_block().x)); }

  const Context& context_;
  bool backward_, training_, relu_;  // a backward follows; by the unit's own statistics
  int64_t n_;
  Cut cut_;
  double epsilon_;
  size_t columns_[4] = {}, pull_[2] = {}, partial_ = 0;
};

}  // namespace

std::unique_ptr<ops::Op> make_batch_norm(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<BatchNormOp>(context, spec);
}

}  // namespace lepton::cuda
