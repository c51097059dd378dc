// SPDX-License-Identifier: Apache-2.0
// Add: the sum of two activations of one shape (the join of a residual block), or of one activation and a
// parameter that is the same for all samples (an embedding of positions [T, F], a bias [F], of images
// [C, 1, 1]); with an optional fused Relu. Such a parameter is a row that is added to each row of as many
// elements of memory. Operands that are broadcast otherwise: elementwise.cpp. Made by the table, run by
// model/executor. Twin: kernels/add.cu.
#include <algorithm>

#include "base/simd.h"
#include "ops/activation.h"
#include "ops/operands.h"

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

LEPTON_SIMD void add_row(int64_t rows, int64_t columns, bool relu, const float* a, const float* row,
                         float* y) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      const float z = a[r * columns + c] + row[c];
      y[r * columns + c] = relu && z < 0.0f ? 0.0f : z;
    }
}

class AddParameterOp : public Op {
 public:
  explicit AddParameterOp(const OpSpec& spec)
      : activation_(parse_activation(spec.activation, spec.activation_attributes)),
        columns_(element_count(spec.parameters[0])),
        rows_(spec.samples * element_count(spec.output) / columns_) {
    MemoryPlan scratch;
    if (spec.training && activation_.kind != ActivationKind::none) scratch.add_floats(rows_ * columns_);
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override {
    add_row(rows_, columns_, activation_.kind == ActivationKind::relu, run.inputs[0], run.parameters[0],
            run.output);
  }

  void backward(const OpBackward& run) override {
    const float* dz = run.output_gradient;
    if (activation_.kind != ActivationKind::none) {
      float* own = floats_at(run.scratch, 0);
      activation_gradient(activation_, rows_ * columns_, nullptr, run.output, dz, own);
      dz = own;
    }
    sum_rows(rows_, columns_, dz, run.parameter_gradients[0]);
    if (float* dx = run.input_gradients[0]; dx && dx != dz) std::copy_n(dz, rows_ * columns_, dx);
  }

  BackwardNeeds backward_needs() const override {
    return {.inputs = false, .output = activation_.kind != ActivationKind::none};
  }
  bool in_place() const override { return true; }

 private:
  Activation activation_;
  int64_t columns_, rows_;
};

}  // namespace

/// The parameter as rows of memory: its shape is the input's or ends it; or one per channel of an image.
static bool is_row_of(const Shape& row, const Shape& input) {
  Shape by_channel(input.size(), 1);
  by_channel.front() = input.front();
  if (row == by_channel) return true;
  return row.size() <= input.size() && std::equal(row.rbegin(), row.rend(), input.rbegin());
}

std::unique_ptr<Op> make_add(const OpSpec& spec) {
  if (spec.inputs.size() == 2 && spec.inputs[0] == spec.inputs[1]) return std::make_unique<AddOp>(spec);
  if (spec.inputs.size() == 1 && is_row_of(spec.parameters[0], spec.inputs[0]))
    return std::make_unique<AddParameterOp>(spec);
  return make_elementwise(spec);
}

}  // namespace lepton::ops
