// SPDX-License-Identifier: Apache-2.0
// Add: the sum of two activations of one shape (the join of a residual block), or of one and a row that is a
// parameter, with an optional fused Relu; and the sum of gradients that meet. Four elements per thread where
// every pointer is aligned to 16 bytes, else one. The bits are the host's, but for the parameter's gradient
// (kernels/sum_rows.cu). Twin: src/ops/add.cpp.
#include <algorithm>

#include "kernels/operators.h"
#include "kernels/pack.h"
#include "ops/activation_math.h"
#include "ops/operators.h"

namespace lepton::cuda {

namespace {

template <bool with_relu>
__device__ float sum_of(float a, float b) {
  return with_relu ? ops::relu_element(a + b) : a + b;
}

// The first 4 * quads elements by fours, the rest one by one. No __restrict__: y may be a.
template <bool with_relu>
__global__ void add_kernel(int64_t quads, int64_t count, const float* a, const float* b, float* y) {
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = first; i < quads; i += stride) {
    const float4 u = reinterpret_cast<const float4*>(a)[i], v = reinterpret_cast<const float4*>(b)[i];
    reinterpret_cast<float4*>(y)[i] = {sum_of<with_relu>(u.x, v.x), sum_of<with_relu>(u.y, v.y),
                                       sum_of<with_relu>(u.z, v.z), sum_of<with_relu>(u.w, v.w)};
  }
  for (int64_t i = 4 * quads + first; i < count; i += stride) y[i] = sum_of<with_relu>(a[i], b[i]);
}

// Both gradients at once; dx0 may be dy.
__global__ void add_relu_gradient_kernel(int64_t quads, int64_t count, const float* y, const float* dy,
                                         float* dx0, float* dx1) {
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = first; i < quads; i += stride) {
    const float4 v = reinterpret_cast<const float4*>(y)[i], d = reinterpret_cast<const float4*>(dy)[i];
    const float4 dz = {ops::relu_gradient_element(v.x, d.x), ops::relu_gradient_element(v.y, d.y),
                       ops::relu_gradient_element(v.z, d.z), ops::relu_gradient_element(v.w, d.w)};
    reinterpret_cast<float4*>(dx0)[i] = dz;
    reinterpret_cast<float4*>(dx1)[i] = dz;
  }
  for (int64_t i = 4 * quads + first; i < count; i += stride) {
    const float dz = ops::relu_gradient_element(y[i], dy[i]);
    dx0[i] = dz;
    dx1[i] = dz;
  }
}

void add_to(const Context& context, bool with_relu, int64_t count, const float* a, const float* b, float* y) {
  const int64_t quads = is_aligned(a) && is_aligned(b) && is_aligned(y) ? count / 4 : 0;
  const auto kernel = with_relu ? add_kernel<true> : add_kernel<false>;
  kernel<<<resident_blocks(context, quads ? quads : count, threads), threads, 0, context.stream>>>(
      quads, count, a, b, y);
  check_launch("add");
}

void add_relu_gradient(const Context& context, int64_t count, const float* y, const float* dy, float* dx0,
                       float* dx1) {
  const bool aligned = is_aligned(y) && is_aligned(dy) && is_aligned(dx0) && is_aligned(dx1);
  const int64_t quads = aligned ? count / 4 : 0;
  add_relu_gradient_kernel<<<resident_blocks(context, quads ? quads : count, threads), threads, 0,
                             context.stream>>>(quads, count, y, dy, dx0, dx1);
  check_launch("add_relu_gradient");
}

class AddOp : public ops::Op {
 public:
  AddOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        activation_(ops::parse_activation(spec.activation, spec.activation_attributes)),
        count_(spec.samples * element_count(spec.output)) {}

  void forward(const ops::OpForward& run) override {
    add_to(context_, is_relu(), count_, run.inputs[0], run.inputs[1], run.output);
  }

  void backward(const ops::OpBackward& run) override {
    if (is_relu() && run.input_gradients[0] && run.input_gradients[1])
      return add_relu_gradient(context_, count_, run.output, run.output_gradient, run.input_gradients[0],
                               run.input_gradients[1]);
    // Input gradient 0 may be the output gradient itself, so it is written last.
    for (const size_t input : {size_t{1}, size_t{0}})
      if (float* dx = run.input_gradients[input])
        activation_gradient(context_, activation_, count_, nullptr, run.output, run.output_gradient, dx);
  }

  ops::BackwardNeeds backward_needs() const override {
    return {.inputs = false, .output = activation_.kind != ops::ActivationKind::none};
  }
  bool in_place() const override { return true; }

 private:
  bool is_relu() const { return activation_.kind == ops::ActivationKind::relu; }

  const Context& context_;
  ops::Activation activation_;
  int64_t count_;
};

// y may be x.
__global__ void __launch_bounds__(threads) add_row_kernel(int64_t count, int64_t columns, bool with_relu,
                                                          const float* x, const float* row, float* y) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    const float z = x[i] + row[i % columns];
    y[i] = with_relu ? ops::relu_element(z) : z;
  }
}

class AddParameterOp : public ops::Op {
 public:
  AddParameterOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        activation_(ops::parse_activation(spec.activation, spec.activation_attributes)),
        columns_(element_count(spec.parameters[0])),
        count_(spec.samples * element_count(spec.output)) {
    if (!spec.training) return;
    ops::MemoryPlan scratch;
    if (has_relu()) dz_ = scratch.add_floats(count_);
    sums_ = scratch.add(sum_rows_scratch_bytes(count_ / columns_, columns_));
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const ops::OpForward& run) override {
    add_row_kernel<<<resident_blocks(context_, count_, threads), threads, 0, context_.stream>>>(
        count_, columns_, has_relu(), run.inputs[0], run.parameters[0], run.output);
    check_launch("add_row");
  }

  void backward(const ops::OpBackward& run) override {
    const float* dz = run.output_gradient;
    if (has_relu()) {
      float* own = ops::floats_at(run.scratch, dz_);
      activation_gradient(context_, activation_, count_, nullptr, run.output, dz, own);
      dz = own;
    }
    sum_rows(context_, count_ / columns_, columns_, dz, run.scratch + sums_, run.parameter_gradients[0]);
    if (float* dx = run.input_gradients[0]; dx && dx != dz)
      check(cudaMemcpyAsync(dx, dz, static_cast<size_t>(count_) * sizeof(float), cudaMemcpyDeviceToDevice,
                            context_.stream),
            "cudaMemcpyAsync");
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = false, .output = has_relu()}; }
  bool in_place() const override { return true; }

 private:
  bool has_relu() const { return activation_.kind == ops::ActivationKind::relu; }

  const Context& context_;
  ops::Activation activation_;
  int64_t columns_, count_;
  size_t dz_ = 0, sums_ = 0;
};

}  // namespace

void add(const Context& context, float* into, const float* from, int64_t count) {
  add_to(context, false, count, into, from, into);
}

/// As the host's.
static bool is_row_of(const Shape& row, const Shape& input) {
  Shape by_channel(input.size(), 1);
  by_channel.front() = input.front();
  if (row == by_channel) return true;
  return row.size() <= input.size() && std::equal(row.rbegin(), row.rend(), input.rbegin());
}

std::unique_ptr<ops::Op> make_add(const Context& context, const ops::OpSpec& spec) {
  if (spec.inputs.size() == 2 && spec.inputs[0] == spec.inputs[1])
    return std::make_unique<AddOp>(context, spec);
  if (spec.inputs.size() == 1 && is_row_of(spec.parameters[0], spec.inputs[0]))
    return std::make_unique<AddParameterOp>(context, spec);
  return make_elementwise(context, spec);
}

}  // namespace lepton::cuda
