// SPDX-License-Identifier: Apache-2.0
// Elementwise operators of operands that are broadcast, the twin of src/ops/elementwise.cpp: a thread for
// each element of the output; the gradient of an operand that is broadcast is summed by a block for each of
// its elements, in double, in an order that depends on the shape alone. Created by make_elementwise, for
// kernels/engine.cu; unlike the host's, an Add's Relu has its gradient in scratch.
#include "kernels/broadcast.h"
#include "kernels/operators.h"

namespace lepton::cuda {

namespace {

using ops::Broadcast, ops::Elementwise, ops::ElementwiseKind;

struct Sources {
  const float* at[ops::operands_most] = {};
};

/// What operand k has for element i; 0 if there is none.
__device__ float operand_element(const Broadcast& b, const Sources& sources, int k, int64_t i) {
  if (!sources.at[k]) return 0.0f;
  return sources.at[k][b.whole[k] ? i : place_of(b, k, i)];
}

template <ElementwiseKind kind>
__global__ void __launch_bounds__(threads)
    apply_kernel(Elementwise f, Broadcast b, Sources sources, bool with_relu, float* y) {
  f.kind = kind;
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < b.count;
       i += int64_t{gridDim.x} * threads) {
    const float z = elementwise_element(f, operand_element(b, sources, 0, i),
                                        operand_element(b, sources, 1, i), operand_element(b, sources, 2, i));
    y[i] = with_relu ? ops::relu_element(z) : z;
  }
}

template <ElementwiseKind kind, int operand>
__device__ float derivative(Elementwise f, const Broadcast& b, const Sources& sources, const float* dy,
                            int64_t i) {
  f.kind = kind;
  return elementwise_gradient_element(f, operand, operand_element(b, sources, 0, i),
                                      operand_element(b, sources, 1, i), dy[i]);
}

template <ElementwiseKind kind, int operand>
__global__ void __launch_bounds__(threads)
    derive_kernel(Elementwise f, Broadcast b, Sources sources, const float* dy, float* dx) {
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < b.count;
       i += int64_t{gridDim.x} * threads)
    dx[i] = derivative<kind, operand>(f, b, sources, dy, i);
}

template <ElementwiseKind kind, int operand>
__global__ void __launch_bounds__(threads)
    derive_and_sum_kernel(Elementwise f, Broadcast b, Sources sources, int64_t elements, const float* dy,
                          float* dx) {
  for (int64_t e = blockIdx.x; e < elements; e += gridDim.x) {
    const Origin origin = origin_of(b, operand, e);
    double sum = 0;
    for (int64_t j = threadIdx.x; j < b.count / elements; j += threads)
      sum += static_cast<double>(
          derivative<kind, operand>(f, b, sources, dy, origin.large + share_of(b, operand, j)));
    sum = sum_of_block<threads>(sum);
    if (threadIdx.x == 0) dx[origin.own] = static_cast<float>(sum);
  }
}

struct FunctionKernels {
  decltype(&apply_kernel<ElementwiseKind::add>) forward = nullptr;
  decltype(&derive_kernel<ElementwiseKind::add, 0>) backward[ops::operands_most] = {};
  decltype(&derive_and_sum_kernel<ElementwiseKind::add, 0>) sums[ops::operands_most] = {};
};

struct FunctionKernelsOfKind {
  template <ElementwiseKind kind>
  FunctionKernels operator()() const {
    constexpr int operands = Elementwise{kind}.operands();
    FunctionKernels kernels{apply_kernel<kind>, {derive_kernel<kind, 0>}, {derive_and_sum_kernel<kind, 0>}};
    if constexpr (operands > 1) {
      kernels.backward[1] = derive_kernel<kind, 1>;
      kernels.sums[1] = derive_and_sum_kernel<kind, 1>;
    }
    if constexpr (operands > 2) {
      kernels.backward[2] = derive_kernel<kind, 2>;
      kernels.sums[2] = derive_and_sum_kernel<kind, 2>;
    }
    return kernels;
  }
};

class ElementwiseOp : public ops::Op {
 public:
  ElementwiseOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        function_(ops::elementwise_of(spec)),
        relu_(ops::parse_activation(spec.activation, spec.activation_attributes)),
        operands_(ops::operands_of(spec)),
        broadcast_(ops::broadcast_of(spec)),
        kernels_(ops::for_elementwise(function_.kind, FunctionKernelsOfKind())) {
    ops::MemoryPlan scratch;
    if (spec.training && has_relu()) scratch.add_floats(broadcast_.count);
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const ops::OpForward& run) override {
    kernels_.forward<<<resident_blocks(context_, broadcast_.count, threads), threads, 0, context_.stream>>>(
        function_, broadcast_, sources(run.inputs, run.parameters), has_relu(), run.output);
    check_launch("elementwise");
  }

  void backward(const ops::OpBackward& run) override {
    const float* dy = run.output_gradient;
    if (has_relu()) {
      float* own = ops::floats_at(run.scratch, 0);
      activation_gradient(context_, relu_, broadcast_.count, nullptr, run.output, dy, own);
      dy = own;
    }
    const Sources from = function_.takes_operands() ? sources(run.inputs, run.parameters) : Sources();
    for (size_t k = 0; k < operands_.size(); ++k) {
      const ops::Operand& operand = operands_[k];
      float* dx = (operand.is_parameter ? run.parameter_gradients : run.input_gradients)[operand.index];
      if (!dx) continue;
      const int64_t elements = broadcast_.own[k];
      if (broadcast_.whole[k])
        kernels_.backward
            [k]<<<resident_blocks(context_, broadcast_.count, threads), threads, 0, context_.stream>>>(
                function_, broadcast_, from, dy, dx);
      else
        kernels_.sums[k]<<<grid_of_sums(context_, elements), threads, 0, context_.stream>>>(
            function_, broadcast_, from, elements, dy, dx);
      check_launch("elementwise_gradient");
    }
  }

  ops::BackwardNeeds backward_needs() const override {
    return {.inputs = function_.takes_operands(), .output = has_relu()};
  }

 private:
  bool has_relu() const { return relu_.kind != ops::ActivationKind::none; }
  Sources sources(std::span<const float* const> inputs, std::span<const float* const> parameters) const {
    Sources result;
    for (size_t k = 0; k < operands_.size(); ++k)
      result.at[k] = (operands_[k].is_parameter ? parameters : inputs)[operands_[k].index];
    return result;
  }

  const Context& context_;
  Elementwise function_;
  ops::Activation relu_;
  std::vector<ops::Operand> operands_;
  Broadcast broadcast_;
  FunctionKernels kernels_;
};

}  // namespace

std::unique_ptr<ops::Op> make_elementwise(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<ElementwiseOp>(context, spec);
}

}  // namespace lepton::cuda
