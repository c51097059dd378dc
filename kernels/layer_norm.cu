// SPDX-License-Identifier: Apache-2.0
// LayerNormalization (Ba, Kiros and Hinton 2016), the twin of src/ops/layer_norm.cpp: each row of memory to
// mean 0 and variance 1, then scale and B (RMSNormalization: the mean stays); an image [C, H, W] is one row,
// whose parameters (in ONNX order) are permuted to channels-last in scratch. Our own kernels, because every
// sum must have an order that depends on the shape alone: rows are summed by a team of threads whose size
// follows from the width, parameter gradients in double in two stages, partial sums of slices of rows and
// then their join. Where a pointer rules float4 out, the same threads add the same elements one by one.
// Created by make_layer_norm, for kernels/engine.cu.
#include <algorithm>
#include <type_traits>

#include "kernels/operators.h"
#include "kernels/team.h"
#include "ops/operators.h"

namespace lepton::cuda {

namespace {

constexpr int group = 4;  // consecutive elements of a thread

struct RowStatistics {
  float mean, inverse;  ///< inverse = 1 / sqrt(variance + epsilon)
};

/// Four elements from `i` on; with wide = false those behind `end` are 0.
template <bool wide>
__device__ inline float4 load_four(const float* from, int64_t i, int64_t end) {
  if constexpr (wide) return *reinterpret_cast<const float4*>(from + i);
  return {from[i], i + 1 < end ? from[i + 1] : 0.0f, i + 2 < end ? from[i + 2] : 0.0f,
          i + 3 < end ? from[i + 3] : 0.0f};
}

__device__ inline float element(const float4& four, int k) {
  return k == 0 ? four.x : k == 1 ? four.y : k == 2 ? four.z : four.w;
}

template <bool wide>
__device__ inline void store_four(float* to, int64_t i, int64_t end, const float (&four)[group]) {
  if constexpr (wide)
    *reinterpret_cast<float4*>(to + i) = {four[0], four[1], four[2], four[3]};
  else
    for (int k = 0; k < group; ++k)
      if (i + k < end) to[i + k] = four[k];
}

/// Parameters as they lie in memory order; null shift: zeros. `wide` says whether float4 may be used.
struct Parameters {
  const float *scale, *shift;
  bool wide;
};
__device__ inline float4 parameter(const float* from, bool wide, int64_t i, int64_t end) {
  if (!from) return {};
  return wide ? load_four<true>(from, i, end) : load_four<false>(from, i, end);
}

/// The sum over a team of threads, in each of them: within warps, then over warps. A team of more than one
/// warp is a whole block.
template <int team>
__device__ float team_sum(float value) {
  for (int distance = warp / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  if constexpr (team > warp) {
    __shared__ float warps[team / warp];
    const unsigned lane = threadIdx.x % warp;
    __syncthreads();  // the values of the last call have been read
    if (lane == 0) warps[threadIdx.x / warp] = value;
    __syncthreads();
    value = lane < team / warp ? warps[lane] : 0.0f;
    for (int distance = warp / 2; distance > 0; distance /= 2)
      value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

// y = (x - mean) inverse scale + shift. `statistics` is null where no backward will follow.
template <int team, bool wide>
__global__ void __launch_bounds__(std::max(team, threads), 1024 / std::max(team, threads))
    normalise_rows(int64_t rows, int64_t width, bool centred, float epsilon, const float* __restrict__ x,
                   Parameters parameters, float* __restrict__ y, RowStatistics* __restrict__ statistics) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;  // whole teams
  const float* in = x + row * width;
  const float share = 1.0f / static_cast<float>(width);
  const int64_t first = group * static_cast<int64_t>(threadIdx.x);
  float sum = 0, squares = 0;
  for (int64_t i = first; centred && i < width; i += group * team) {
    const float4 four = load_four<wide>(in, i, width);
    sum += (four.x + four.y) + (four.z + four.w);
  }
  const float mean = team_sum<team>(sum) * share;
  for (int64_t i = first; i < width; i += group * team) {
    const float4 four = load_four<wide>(in, i, width);
    for (int k = 0; k < group; ++k) {
      const float from_mean = element(four, k) - mean;
      if (wide || i + k < width) squares += from_mean * from_mean;
    }
  }
  const float variance = team_sum<team>(squares) * share, inverse = 1.0f / sqrtf(variance + epsilon);
  for (int64_t i = first; i < width; i += group * team) {
    const float4 four = load_four<wide>(in, i, width);
    const float4 scale = parameter(parameters.scale, parameters.wide, i, width),
                 shift = parameter(parameters.shift, parameters.wide, i, width);
    float out[group];
    for (int k = 0; k < group; ++k)
      out[k] = (element(four, k) - mean) * inverse * element(scale, k) + element(shift, k);
    store_four<wide>(y + row * width, i, width, out);
  }
  if (statistics && threadIdx.x == 0) statistics[row] = {mean, inverse};
}

// With xhat = (x - mean) inverse and h = dy scale: dx = inverse (h - mean(h) - xhat mean(h xhat)).
template <int team, bool wide>
__global__ void __launch_bounds__(std::max(team, threads), 1024 / std::max(team, threads))
    input_gradient(int64_t rows, int64_t width, bool centred, const float* __restrict__ x,
                   const float* __restrict__ dy, Parameters parameters,
                   const RowStatistics* __restrict__ statistics, float* __restrict__ dx) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;  // whole teams
  const float *in = x + row * width, *gradient = dy + row * width;
  const float share = 1.0f / static_cast<float>(width);
  const float mean = statistics[row].mean, inverse = statistics[row].inverse;
  const int64_t first = group * static_cast<int64_t>(threadIdx.x);
  float sum = 0, product = 0;
  for (int64_t i = first; i < width; i += group * team) {
    const float4 four = load_four<wide>(in, i, width), g = load_four<wide>(gradient, i, width),
                 scale = parameter(parameters.scale, parameters.wide, i, width);
    for (int k = 0; k < group; ++k) {
      const float h = element(g, k) * element(scale, k), xhat = (element(four, k) - mean) * inverse;
      if (wide || i + k < width) {
        sum += h;
        product += h * xhat;
      }
    }
  }
  const float h_mean = centred ? team_sum<team>(sum) * share : 0.0f,
              hx_mean = team_sum<team>(product) * share;
  for (int64_t i = first; i < width; i += group * team) {
    const float4 four = load_four<wide>(in, i, width), g = load_four<wide>(gradient, i, width),
                 scale = parameter(parameters.scale, parameters.wide, i, width);
    float out[group];
    for (int k = 0; k < group; ++k)
      out[k] = inverse *
               ((element(g, k) * element(scale, k) - h_mean) - (element(four, k) - mean) * inverse * hx_mean);
    store_four<wide>(dx + row * width, i, width, out);
  }
}

/// How sums down the rows are cut, by the shape alone: a block is `lanes` threads across groups of columns
/// times `team` threads down the rows, and takes every slices-th team of rows.
struct RowCut {
  int64_t rows, width;
  int lanes, team, slices;

  RowCut(int64_t rows, int64_t width) : rows(rows), width(width) {
    const int64_t groups = (width + group - 1) / group, tiles = (groups + 31) / 32;
    lanes = static_cast<int>((groups + tiles - 1) / tiles);
    team = static_cast<int>(std::min<int64_t>(threads / lanes, rows));
    // At least four rows for each thread, and some 512 blocks at most: enough for any device, few to join.
    const int64_t most = std::max<int64_t>(1, 512 / tiles), wanted = (rows + 4 * team - 1) / (4 * team);
    slices = static_cast<int>(std::min(most, wanted));
  }
  dim3 grid() const { return dim3(blocks_for(width, lanes * group), static_cast<unsigned>(slices)); }
  size_t partial_bytes() const { return static_cast<size_t>(2 * slices * width) * sizeof(double); }
};

// partial[slice] = sums of dy xhat, then of dy, over the rows of a slice
template <bool wide>
__global__ void __launch_bounds__(threads)
    parameter_sums(RowCut cut, const float* __restrict__ x, const float* __restrict__ dy,
                   const RowStatistics* __restrict__ statistics, double* __restrict__ partial) {
  const int64_t column = group * (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x);
  const int64_t step = static_cast<int64_t>(gridDim.y) * blockDim.y;
  double product[group] = {}, sum[group] = {};
  if (column < cut.width)
    for (int64_t row = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; row < cut.rows;
         row += step) {
      const float4 four = load_four<wide>(x + row * cut.width, column, cut.width),
                   g = load_four<wide>(dy + row * cut.width, column, cut.width);
      const float mean = statistics[row].mean, inverse = statistics[row].inverse;
      for (int k = 0; k < group; ++k) {
        product[k] += static_cast<double>(element(g, k) * ((element(four, k) - mean) * inverse));
        sum[k] += static_cast<double>(element(g, k));
      }
    }
  fold_team<group>(product, sum);
  if (threadIdx.y != 0) return;
  double* to = partial + 2 * blockIdx.y * cut.width;
  for (int k = 0; k < group; ++k)
    if (column + k < cut.width) {
      to[column + k] = product[k];
      to[cut.width + column + k] = sum[k];
    }
}

/// Memory order (pixel, channel) of a row against ONNX order (channel, pixel); no image: one pixel.
struct Order {
  int64_t channels, pixels;
  __device__ int64_t onnx(int64_t memory) const {
    if (channels == 1 || pixels == 1) return memory;
    const int64_t pixel = memory / channels;
    return (memory - pixel * channels) * pixels + pixel;
  }
};

// The second stage, one column for each threadIdx.x. `dshift` may be null.
__global__ void __launch_bounds__(threads)
    finish_parameters(RowCut cut, Order order, const double* __restrict__ partial, float* __restrict__ dscale,
                      float* __restrict__ dshift) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  double product[1] = {}, sum[1] = {};
  if (column < cut.width)
    for (int64_t slice = threadIdx.y; slice < cut.slices; slice += blockDim.y) {
      const double* from = partial + 2 * slice * cut.width + column;
      product[0] += from[0];
      sum[0] += from[cut.width];
    }
  fold_team<1>(product, sum);
  if (threadIdx.y != 0 || column >= cut.width) return;
  const int64_t to = order.onnx(column);
  dscale[to] = static_cast<float>(product[0]);
  if (dshift) dshift[to] = static_cast<float>(sum[0]);
}

// Parameters from ONNX to memory order. `shift` may be null.
__global__ void __launch_bounds__(threads)
    permute_parameters(Order order, const float* __restrict__ scale, const float* __restrict__ shift,
                       float* __restrict__ scale_to, float* __restrict__ shift_to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= order.channels * order.pixels) return;
  const int64_t from = order.onnx(i);
  scale_to[i] = scale[from];
  if (shift) shift_to[i] = shift[from];
}

bool aligned(const float* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % sizeof(float4) == 0;
}

class LayerNormOp : public ops::Op {
 public:
  LayerNormOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        width_(element_count(spec.parameters[0])),
        cut_(spec.samples * element_count(spec.inputs[0]) / width_, width_),
        epsilon_(static_cast<float>(ops::float_attribute(spec.attributes, "epsilon", 1e-5))),
        training_(spec.training),
        centred_(spec.type == "LayerNormalization"),
        shift_(spec.parameters.size() > 1),
        order_{spec.layouts[0] == Layout::channels_last ? spec.inputs[0][0] : 1, 1} {
    order_.pixels = width_ / order_.channels;
    ops::MemoryPlan saved, scratch;
    if (training_) saved.add(static_cast<size_t>(cut_.rows) * sizeof(RowStatistics));
    if (permuted())
      for (size_t& offset : permuted_) offset = scratch.add_floats(width_);
    if (training_) partial_ = scratch.add(cut_.partial_bytes());
    saved_bytes_ = saved.bytes();
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const ops::OpForward& run) override {
    const Parameters parameters =
        to_memory(run.parameters[0], shift_ ? run.parameters[1] : nullptr, run.scratch);
    const float* x = run.inputs[0];
    float* y = run.output;
    auto* statistics = training_ ? reinterpret_cast<RowStatistics*>(run.saved) : nullptr;
    with_shape(wide(x, y), [&](auto team, auto wide) {
      normalise_rows<team, wide><<<row_blocks(team), row_block(team), 0, context_.stream>>>(
          cut_.rows, width_, centred_, epsilon_, x, parameters, y, statistics);
    });
    check_launch("normalise_rows");
  }

  void backward(const ops::OpBackward& run) override {
    const float *x = run.inputs[0], *dy = run.output_gradient;
    float* dx = run.input_gradients[0];
    const auto* statistics = reinterpret_cast<const RowStatistics*>(run.saved);
    if (dx) {
      const Parameters parameters = to_memory(run.parameters[0], nullptr, run.scratch);
      with_shape(wide(x, dy) && aligned(dx), [&](auto team, auto wide) {
        input_gradient<team, wide><<<row_blocks(team), row_block(team), 0, context_.stream>>>(
            cut_.rows, width_, centred_, x, dy, parameters, statistics, dx);
      });
      check_launch("input_gradient");
    }
    auto* partial = reinterpret_cast<double*>(run.scratch + partial_);
    const dim3 block(cut_.lanes, cut_.team);
    if (wide(x, dy))
      parameter_sums<true><<<cut_.grid(), block, 0, context_.stream>>>(cut_, x, dy, statistics, partial);
    else
      parameter_sums<false><<<cut_.grid(), block, 0, context_.stream>>>(cut_, x, dy, statistics, partial);
    check_launch("parameter_sums");
    const int team = std::min(32, cut_.slices), columns = threads / team;
    finish_parameters<<<blocks_for(width_, columns), dim3(columns, team), 0, context_.stream>>>(
        cut_, order_, partial, run.parameter_gradients[0], shift_ ? run.parameter_gradients[1] : nullptr);
    check_launch("finish_parameters");
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  bool permuted() const { return order_.channels > 1 && order_.pixels > 1; }
  bool wide(const float* a, const float* b) const { return width_ % group == 0 && aligned(a) && aligned(b); }

  Parameters to_memory(const float* scale, const float* shift, std::byte* scratch) const {
    if (permuted()) {
      float *scale_to = ops::floats_at(scratch, permuted_[0]),
            *shift_to = ops::floats_at(scratch, permuted_[1]);
      permute_parameters<<<blocks_for(width_, threads), threads, 0, context_.stream>>>(order_, scale, shift,
                                                                                       scale_to, shift_to);
      check_launch("permute_parameters");
      scale = scale_to;
      shift = shift ? shift_to : nullptr;
    }
    return {scale, shift, wide(scale, shift)};
  }

  /// launch(threads of a row's team, float4?): as many threads as the width can feed.
  template <class Launch>
  void with_shape(bool wide, const Launch& launch) const {
    const auto with_team = [&](auto team) {
      if (wide)
        launch(team, std::true_type{});
      else
        launch(team, std::false_type{});
    };
    if (width_ <= 1024)
      with_team(std::integral_constant<int, 32>{});
    else if (width_ <= 8192)
      with_team(std::integral_constant<int, 256>{});
    else
      with_team(std::integral_constant<int, 1024>{});
  }
  static dim3 row_block(int team) { return dim3(team, std::max(1, threads / team)); }
  unsigned row_blocks(int team) const { return blocks_for(cut_.rows, static_cast<int>(row_block(team).y)); }

  const Context& context_;
  int64_t width_;
  RowCut cut_;
  float epsilon_;
  bool training_, centred_, shift_;
  Order order_;
  size_t permuted_[2] = {}, partial_ = 0;
};

}  // namespace

std::unique_ptr<ops::Op> make_layer_norm(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<LayerNormOp>(context, spec);
}

}  // namespace lepton::cuda
