// SPDX-License-Identifier: Apache-2.0
// PRelu (He et al. 2015), the twin of src/ops/prelu.cpp: rows of as many elements as there are slopes. What
// each element gives to its slope's gradient lies in scratch, whose columns kernels/sum_rows.cu sums. Created
// by make_prelu, for kernels/engine.cu.
#include "kernels/operators.h"
#include "kernels/pack.h"
#include "ops/activation_math.h"
#include "ops/operators.h"

namespace lepton::cuda {

namespace {

__global__ void __launch_bounds__(threads) prelu(int64_t count, int64_t columns, const float* __restrict__ x,
                                                 const float* __restrict__ slopes, float* __restrict__ y) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride)
    y[i] = ops::leaky_relu_element(slopes[i % columns], x[i]);
}

// dx may be null.
__global__ void __launch_bounds__(threads)
    prelu_gradient(int64_t count, int64_t columns, const float* __restrict__ x, const float* __restrict__ dy,
                   const float* __restrict__ slopes, float* __restrict__ dx, float* __restrict__ products) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    if (dx) dx[i] = ops::leaky_relu_gradient_element(slopes[i % columns], x[i], dy[i]);
    products[i] = ops::prelu_slope_gradient_element(x[i], dy[i]);
  }
}

class PReluOp : public ops::Op {
 public:
  PReluOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        columns_(element_count(spec.parameters[0])),
        count_(spec.samples * element_count(spec.inputs[0])) {
    if (!spec.training) return;
    ops::MemoryPlan scratch;
    products_ = scratch.add_floats(count_);
    sums_ = scratch.add(sum_rows_scratch_bytes(count_ / columns_, columns_));
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const ops::OpForward& run) override {
    prelu<<<resident_blocks(context_, count_, threads), threads, 0, context_.stream>>>(
        count_, columns_, run.inputs[0], run.parameters[0], run.output);
    check_launch("prelu");
  }

  void backward(const ops::OpBackward& run) override {
    float* products = ops::floats_at(run.scratch, products_);
    prelu_gradient<<<resident_blocks(context_, count_, threads), threads, 0, context_.stream>>>(
        count_, columns_, run.inputs[0], run.output_gradient, run.parameters[0], run.input_gradients[0],
        products);
    check_launch("prelu_gradient");
    sum_rows(context_, count_ / columns_, columns_, products, run.scratch + sums_,
             run.parameter_gradients[0]);
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  const Context& context_;
  int64_t columns_, count_;
  size_t products_ = 0, sums_ = 0;
};

}  // namespace

std::unique_ptr<ops::Op> make_prelu(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<PReluOp>(context, spec);
}

}  // namespace lepton::cuda
