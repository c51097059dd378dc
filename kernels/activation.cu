// SPDX-License-Identifier: Apache-2.0
// Elementwise activations on the device and the operators of that name: the formulas of
// ops/activation_math.h, one kernel per function, so that no choice is left inside. Four elements per thread
// where every pointer is aligned to 16 bytes, else one. The bits are the host's. Twin:
// src/ops/activation.cpp.
#include "ops/activation_math.h"

#include <algorithm>

#include "kernels/operators.h"
#include "kernels/pack.h"

namespace lepton::cuda {

using ops::Activation, ops::ActivationKind;

namespace {

using Forward = void (*)(Activation f, int64_t quads, int64_t count, const float* x, float* y);
using Backward = void (*)(Activation f, int64_t quads, int64_t count, const float* known, const float* dy,
                          float* dx);

// The first 4 * quads elements by fours, the rest one by one. No __restrict__: y may be x.
template <ActivationKind kind>
__global__ void activate_kernel(Activation f, int64_t quads, int64_t count, const float* x, float* y) {
  f.kind = kind;
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = first; i < quads; i += stride) {
    const float4 v = reinterpret_cast<const float4*>(x)[i];
    reinterpret_cast<float4*>(y)[i] = {activation_element(f, v.x), activation_element(f, v.y),
                                       activation_element(f, v.z), activation_element(f, v.w)};
  }
  for (int64_t i = 4 * quads + first; i < count; i += stride) y[i] = activation_element(f, x[i]);
}

// `known` is x or y, as the function wants; dx may be dy.
template <ActivationKind kind>
__global__ void activation_gradient_kernel(Activation f, int64_t quads, int64_t count, const float* known,
                                           const float* dy, float* dx) {
  f.kind = kind;
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = first; i < quads; i += stride) {
    const float4 v = reinterpret_cast<const float4*>(known)[i], d = reinterpret_cast<const float4*>(dy)[i];
    reinterpret_cast<float4*>(dx)[i] = {
        activation_gradient_element(f, v.x, d.x), activation_gradient_element(f, v.y, d.y),
        activation_gradient_element(f, v.z, d.z), activation_gradient_element(f, v.w, d.w)};
  }
  for (int64_t i = 4 * quads + first; i < count; i += stride)
    dx[i] = activation_gradient_element(f, known[i], dy[i]);
}

struct Kernels {
  Forward forward = nullptr;
  Backward backward = nullptr;
};

struct KernelsOfKind {
  template <ActivationKind kind>
  Kernels operator()() const {
    return {activate_kernel<kind>, activation_gradient_kernel<kind>};
  }
};

void copy(const Context& context, int64_t count, const float* from, float* to) {
  if (from == to) return;
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(float), cudaMemcpyDeviceToDevice,
                        context.stream),
        "cudaMemcpyAsync");
}

}  // namespace

void activate(const Context& context, const Activation& activation, int64_t count, const float* x, float* y) {
  if (activation.kind == ActivationKind::none) return copy(context, count, x, y);
  const int64_t quads = is_aligned(x) && is_aligned(y) ? count / 4 : 0;
  const Forward kernel = ops::for_kind(activation.kind, KernelsOfKind()).forward;
  kernel<<<resident_blocks(context, quads ? quads : count, threads), threads, 0, context.stream>>>(
      activation, quads, count, x, y);
  check_launch("activate");
}

void activation_gradient(const Context& context, const Activation& activation, int64_t count, const float* x,
                         const float* y, const float* dy, float* dx) {
  if (activation.kind == ActivationKind::none) return copy(context, count, dy, dx);
  const float* known = ops::takes_input(activation) ? x : y;
  const int64_t quads = is_aligned(known) && is_aligned(dy) && is_aligned(dx) ? count / 4 : 0;
  const Backward kernel = ops::for_kind(activation.kind, KernelsOfKind()).backward;
  kernel<<<resident_blocks(context, quads ? quads : count, threads), threads, 0, context.stream>>>(
      activation, quads, count, known, dy, dx);
  check_launch("activation_gradient");
}

namespace {

class ActivationOp : public ops::Op {
 public:
  ActivationOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        activation_(ops::parse_activation(spec.type, spec.attributes)),
        count_(spec.samples * element_count(spec.output)) {}

  void forward(const ops::OpForward& run) override {
    activate(context_, activation_, count_, run.inputs[0], run.output);
  }
  void backward(const ops::OpBackward& run) override {
    if (!run.input_gradients[0]) return;
    activation_gradient(context_, activation_, count_, run.inputs[0], run.output, run.output_gradient,
                        run.input_gradients[0]);
  }
  ops::BackwardNeeds backward_needs() const override {
    const bool from_output = ops::gradient_from_output(activation_);
    return {.inputs = !from_output, .output = from_output};
  }
  bool in_place() const override { return ops::gradient_from_output(activation_); }

 private:
  const Context& context_;
  Activation activation_;
  int64_t count_;
};

}  // namespace

std::unique_ptr<ops::Op> make_activation(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<ActivationOp>(context, spec);
}

}  // namespace lepton::cuda
