// SPDX-License-Identifier: Apache-2.0
// Gemm: y[n, out] = f(x[n, in] W[out, in]^T + b), the dense layer (ONNX Gemm with transB = 1, alpha = beta =
// 1), by oneDNN's matmul with bias and activation fused. Backward, with dz = dy f'(y):
//   dx = dz W,   dW = dz^T x,   db = sum over samples of dz.
// The bias gradient is our own loop in sample order. Made by the table, run by model/executor.
#include "base/simd.h"
#include "ops/onednn.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

using onednn::Tag;

// sum[c] = sum over rows of z[r, c], rows in order.
LEPTON_SIMD void sum_rows(int64_t rows, int64_t columns, const float* z, float* sum) {
  for (int64_t c = 0; c < columns; ++c) sum[c] = z[c];
  for (int64_t r = 1; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) sum[c] += z[r * columns + c];
}

class GemmOp : public Op {
 public:
  explicit GemmOp(const OpSpec& spec)
      : activation_(parse_activation(spec.activation, spec.activation_attributes)),
        n_(spec.samples),
        in_(spec.parameters[0][1]),
        out_(spec.parameters[0][0]),
        bias_(spec.parameters.size() > 1) {
    const auto x = onednn::desc({n_, in_}, Tag::ab), y = onednn::desc({n_, out_}, Tag::ab);
    const auto weights = onednn::strided({in_, out_}, {1, in_});
    const auto bias = bias_ ? onednn::desc({1, out_}, Tag::ab) : onednn::Desc();
    forward_ = onednn::matmul(x, weights, bias, y, activation_);
    MemoryPlan forward;
    forward_scratchpad_ = forward.add(forward_.scratchpad_bytes);
    scratch_bytes_ = forward.bytes();
    if (spec.training) plan_backward(spec.input_needs_gradient[0]);
  }

  void forward(const OpForward& run) override {
    std::byte* pad = run.scratch + forward_scratchpad_;
    if (bias_)
      forward_.primitive.run({run.inputs[0], run.parameters[0], run.output, pad, run.parameters[1]});
    else
      forward_.primitive.run({run.inputs[0], run.parameters[0], run.output, pad});
  }

  void backward(const OpBackward& run) override {
    const float* dz = run.output_gradient;
    if (activation_.kind != ActivationKind::none) {
      float* own = floats_at(run.scratch, dz_offset_);
      activation_gradient(activation_, n_ * out_, nullptr, run.output, dz, own);
      dz = own;
    }
    std::byte* pad = run.scratch + backward_scratchpad_;
    if (run.input_gradients[0]) data_.primitive.run({dz, run.parameters[0], run.input_gradients[0], pad});
    weights_.primitive.run({dz, run.inputs[0], run.parameter_gradients[0], pad});
    if (bias_) sum_rows(n_, out_, dz, run.parameter_gradients[1]);
  }

  BackwardNeeds backward_needs() const override {
    return {.inputs = true, .output = activation_.kind != ActivationKind::none};
  }

 private:
  void plan_backward(bool input_gradient) {
    const auto x = onednn::desc({n_, in_}, Tag::ab), y = onednn::desc({n_, out_}, Tag::ab);
    if (input_gradient) data_ = onednn::matmul(y, onednn::desc({out_, in_}, Tag::ab), {}, x, {});
    weights_ =
        onednn::matmul(onednn::strided({out_, n_}, {1, out_}), x, {}, onednn::desc({out_, in_}, Tag::ab), {});
    MemoryPlan backward;
    if (activation_.kind != ActivationKind::none) dz_offset_ = backward.add_floats(n_ * out_);
    backward_scratchpad_ = backward.add(std::max(data_.scratchpad_bytes, weights_.scratchpad_bytes));
    scratch_bytes_ = std::max(scratch_bytes_, backward.bytes());
  }

  Activation activation_;
  int64_t n_, in_, out_;
  bool bias_;
  onednn::Planned forward_, data_, weights_;
  size_t forward_scratchpad_ = 0, backward_scratchpad_ = 0, dz_offset_ = 0;
};

}  // namespace

Shape infer_matmul(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  require_shape(input.size() == 1,
                "Gemm needs a vector per sample, not " + shape_text(input) + " (flatten it)");
  require_shape(!spec.parameters.empty() && spec.parameters[0].size() == 2, "Gemm needs weights [out, in]");
  const Shape& weights = spec.parameters[0];
  require_shape(weights[1] == input[0],
                "Gemm weights " + shape_text(weights) + " do not fit the input " + shape_text(input));
  require_shape(spec.parameters.size() == 1 || spec.parameters[1] == Shape{weights[0]},
                "Gemm bias does not fit the weights " + shape_text(weights));
  require_shape(
      int_attribute(spec.attributes, "transA", 0) == 0 && int_attribute(spec.attributes, "transB", 1) == 1,
      "Gemm is computed with transA = 0 and transB = 1 only");
  require_shape(
      float_attribute(spec.attributes, "alpha", 1) == 1 && float_attribute(spec.attributes, "beta", 1) == 1,
      "Gemm is computed with alpha = beta = 1 only");
  return {weights[0]};
}

std::unique_ptr<Op> make_matmul(const OpSpec& spec) {
  return std::make_unique<GemmOp>(spec);
}

}  // namespace lepton::ops
