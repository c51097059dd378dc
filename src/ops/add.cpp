// SPDX-License-Identifier: Apache-2.0
// Add: the sum of two activations of one shape (the join of a residual block), with an optional fused Relu.
// Made by the table, run by model/executor.
#include "base/simd.h"
#include "ops/activation.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

LEPTON_SIMD void add(int64_t count, const float* a, const float* b, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
}
LEPTON_SIMD void add_relu(int64_t count, const float* a, const float* b, float* y) {
  for (int64_t i = 0; i < count; ++i) {
    const float z = a[i] + b[i];
    y[i] = z < 0.0f ? 0.0f : z;
  }
}

// Both gradients at once; dx0 may be dy.
LEPTON_SIMD void add_relu_gradient(int64_t count, const float* y, const float* dy, float* dx0, float* dx1) {
  for (int64_t i = 0; i < count; ++i) {
    const float dz = y[i] > 0.0f ? dy[i] : 0.0f;
    dx0[i] = dz;
    dx1[i] = dz;
  }
}

class AddOp : public Op {
 public:
  explicit AddOp(const OpSpec& spec)
      : activation_(parse_activation(spec.activation, spec.activation_attributes)),
        count_(spec.samples * element_count(spec.output)) {}

  void forward(const OpForward& run) override {
    const bool relu = activation_.kind == ActivationKind::relu;
    (relu ? add_relu : add)(count_, run.inputs[0], run.inputs[1], run.output);
  }

  void backward(const OpBackward& run) override {
    if (activation_.kind == ActivationKind::relu && run.input_gradients[0] && run.input_gradients[1])
      return add_relu_gradient(count_, run.output, run.output_gradient, run.input_gradients[0],
                               run.input_gradients[1]);
    // Input gradient 0 may be the output gradient itself, so it is written last.
    for (const size_t input : {size_t{1}, size_t{0}})
      if (float* dx = run.input_gradients[input])
        activation_gradient(activation_, count_, nullptr, run.output, run.output_gradient, dx);
  }

  BackwardNeeds backward_needs() const override {
    return {.inputs = false, .output = activation_.kind != ActivationKind::none};
  }
  bool in_place() const override { return true; }

 private:
  Activation activation_;
  int64_t count_;
};

}  // namespace

Shape infer_add(const OpSpec& spec) {
  require_shape(
      spec.inputs[0] == spec.inputs[1],
      "Add needs two equal shapes, not " + shape_text(spec.inputs[0]) + " and " + shape_text(spec.inputs[1]));
  return spec.inputs[0];
}

std::unique_ptr<Op> make_add(const OpSpec& spec) {
  return std::make_unique<AddOp>(spec);
}

}  // namespace lepton::ops
