// SPDX-License-Identifier: Apache-2.0
// GroupNormalization and InstanceNormalization, channels last, the twin of src/ops/group_norm.cpp: a block
// for each group of a sample takes its sums in double and normalises it; for gradients, a block for each
// channel of a sample takes sums, a thread for each channel folds them over samples in order. Created by
// make_group_norm, for kernels/engine.cu.
#include "ops/group_norm_shape.h"

#include "kernels/broadcast.h"
#include "kernels/operators.h"

namespace lepton::cuda {

namespace {

using ops::GroupNormShape;

struct Statistics {
  float mean, inverse;
};

/// Sizes, without the constructor of ops::GroupNormShape.
struct GroupSizes {
  int64_t samples, pixels, channels, groups, group_channels;
  float epsilon;
};

/// Element k of a group of a sample: group channels of one pixel side by side.
__device__ int64_t element_of(const GroupSizes& s, int64_t group, int64_t k) {
  const int64_t sample = group / s.groups, first = group % s.groups * s.group_channels;
  const int64_t pixel = k / s.group_channels;
  return (sample * s.pixels + pixel) * s.channels + first + (k - pixel * s.group_channels);
}

/// A block's sum, for all of its threads.
__device__ double total_of_block(double value) {
  __shared__ double total;
  const double sum = sum_of_block<threads>(value);
  if (threadIdx.x == 0) total = sum;
  __syncthreads();
  return total;
}

__global__ void __launch_bounds__(threads)
    normalise_kernel(GroupSizes s, const float* x, const float* scale, const float* bias, float* y,
                     Statistics* statistics) {
  const int64_t count = s.pixels * s.group_channels;
  for (int64_t group = blockIdx.x; group < s.samples * s.groups; group += gridDim.x) {
    double sum = 0, squares = 0;
    for (int64_t k = threadIdx.x; k < count; k += threads)
      sum += static_cast<double>(x[element_of(s, group, k)]);
    const auto mean = static_cast<float>(total_of_block(sum) / static_cast<double>(count));
    for (int64_t k = threadIdx.x; k < count; k += threads) {
      const double d = static_cast<double>(x[element_of(s, group, k)]) - static_cast<double>(mean);
      squares += d * d;
    }
    const double variance = total_of_block(squares) / static_cast<double>(count);
    const auto inverse = static_cast<float>(1.0 / sqrt(variance + static_cast<double>(s.epsilon)));
    if (threadIdx.x == 0) statistics[group] = {mean, inverse};
    for (int64_t k = threadIdx.x; k < count; k += threads) {
      const int64_t i = element_of(s, group, k), c = i % s.channels;
      y[i] = (x[i] - mean) * inverse * scale[c] + bias[c];
    }
  }
}

/// Per sample and channel, sums over pixels of dy and of dy xhat.
__global__ void __launch_bounds__(threads)
    channel_sums_kernel(GroupSizes s, const float* x, const float* dy, const Statistics* statistics,
                        double* sums, double* products) {
  for (int64_t at = blockIdx.x; at < s.samples * s.channels; at += gridDim.x) {
    const int64_t sample = at / s.channels, c = at - sample * s.channels;
    const Statistics own = statistics[sample * s.groups + c / s.group_channels];
    double sum = 0, product = 0;
    for (int64_t p = threadIdx.x; p < s.pixels; p += threads) {
      const int64_t i = (sample * s.pixels + p) * s.channels + c;
      sum += static_cast<double>(dy[i]);
      product += static_cast<double>(dy[i]) * static_cast<double>((x[i] - own.mean) * own.inverse);
    }
    sum = total_of_block(sum);
    product = total_of_block(product);
    if (threadIdx.x == 0) {
      sums[at] = sum;
      products[at] = product;
    }
  }
}

__global__ void __launch_bounds__(threads)
    parameter_gradients_kernel(GroupSizes s, const double* sums, const double* products, float* dscale,
                               float* dbias) {
  for (int64_t c = int64_t{blockIdx.x} * threads + threadIdx.x; c < s.channels;
       c += int64_t{gridDim.x} * threads) {
    double shift = 0, scale = 0;
    for (int64_t sample = 0; sample < s.samples; ++sample) {
      shift += sums[sample * s.channels + c];
      scale += products[sample * s.channels + c];
    }
    dscale[c] = static_cast<float>(scale);
    dbias[c] = static_cast<float>(shift);
  }
}

__global__ void __launch_bounds__(threads)
    input_gradient_kernel(GroupSizes s, const float* x, const float* dy, const float* scale,
                          const Statistics* statistics, const double* sums, const double* products,
                          float* dx) {
  const int64_t count = s.pixels * s.group_channels;
  for (int64_t group = blockIdx.x; group < s.samples * s.groups; group += gridDim.x) {
    const int64_t sample = group / s.groups, first = group % s.groups * s.group_channels;
    double sum = 0, product = 0;
    for (int64_t c = first + threadIdx.x; c < first + s.group_channels; c += threads) {
      sum += sums[sample * s.channels + c] * static_cast<double>(scale[c]);
      product += products[sample * s.channels + c] * static_cast<double>(scale[c]);
    }
    const auto h = static_cast<float>(total_of_block(sum) / static_cast<double>(count));
    const auto hx = static_cast<float>(total_of_block(product) / static_cast<double>(count));
    const Statistics own = statistics[group];
    for (int64_t k = threadIdx.x; k < count; k += threads) {
      const int64_t i = element_of(s, group, k), c = i % s.channels;
      const float normalised = (x[i] - own.mean) * own.inverse;
      dx[i] = own.inverse * ((dy[i] * scale[c] - h) - normalised * hx);
    }
  }
}

class GroupNormOp : public ops::Op {
 public:
  GroupNormOp(const Context& context, const ops::OpSpec& spec) : context_(context) {
    const GroupNormShape shape(spec);
    sizes_ = {shape.samples, shape.pixels,           shape.channels,
              shape.groups,  shape.group_channels(), shape.epsilon};
    ops::MemoryPlan saved, scratch;
    saved.add(static_cast<size_t>(shape.samples * shape.groups) * sizeof(Statistics));
    saved_bytes_ = saved.bytes();
    const auto bytes = static_cast<size_t>(shape.samples * shape.channels) * sizeof(double);
    if (spec.training) sums_ = scratch.add(bytes);
    if (spec.training) products_ = scratch.add(bytes);
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const ops::OpForward& run) override {
    normalise_kernel<<<grid_of_sums(context_, sizes_.samples * sizes_.groups), threads, 0, context_.stream>>>(
        sizes_, run.inputs[0], run.parameters[0], run.parameters[1], run.output,
        reinterpret_cast<Statistics*>(run.saved));
    check_launch("group_norm");
  }

  void backward(const ops::OpBackward& run) override {
    const auto* statistics = reinterpret_cast<const Statistics*>(run.saved);
    auto* sums = reinterpret_cast<double*>(run.scratch + sums_);
    auto* products = reinterpret_cast<double*>(run.scratch + products_);
    channel_sums_kernel<<<grid_of_sums(context_, sizes_.samples * sizes_.channels), threads, 0,
                          context_.stream>>>(sizes_, run.inputs[0], run.output_gradient, statistics, sums,
                                             products);
    check_launch("channel_sums");
    parameter_gradients_kernel<<<resident_blocks(context_, sizes_.channels, threads), threads, 0,
                                 context_.stream>>>(sizes_, sums, products, run.parameter_gradients[0],
                                                    run.parameter_gradients[1]);
    check_launch("parameter_gradients");
    if (!run.input_gradients[0]) return;
    input_gradient_kernel<<<grid_of_sums(context_, sizes_.samples * sizes_.groups), threads, 0,
                            context_.stream>>>(sizes_, run.inputs[0], run.output_gradient, run.parameters[0],
                                               statistics, sums, products, run.input_gradients[0]);
    check_launch("input_gradient");
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  const Context& context_;
  GroupSizes sizes_ = {};
  size_t sums_ = 0, products_ = 0;
};

}  // namespace

std::unique_ptr<ops::Op> make_group_norm(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<GroupNormOp>(context, spec);
}

}  // namespace lepton::cuda
