// SPDX-License-Identifier: Apache-2.0
// Concat, the twin of src/ops/concat.cpp: each input's runs are copied to their places in the output's rows.
// Created by make_concat, for kernels/engine.cu.
#include "kernels/operators.h"
#include "ops/concat_shape.h"

namespace lepton::cuda {

namespace {

class ConcatOp : public ops::Op {
 public:
  ConcatOp(const Context& context, const ops::OpSpec& spec) : context_(context), shape_(spec) {}

  void forward(const ops::OpForward& run) override {
    float* at = run.output;
    for (size_t k = 0; k < shape_.widths.size(); at += shape_.widths[k++])
      copy(run.inputs[k], shape_.widths[k], at, shape_.width, shape_.widths[k]);
  }
  void backward(const ops::OpBackward& run) override {
    const float* at = run.output_gradient;
    for (size_t k = 0; k < shape_.widths.size(); at += shape_.widths[k++])
      if (float* dx = run.input_gradients[k]) copy(at, shape_.width, dx, shape_.widths[k], shape_.widths[k]);
  }
  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  /// Runs of `width` elements, which begin `from_row` and `to_row` elements apart.
  void copy(const float* from, int64_t from_row, float* to, int64_t to_row, int64_t width) const {
    check(cudaMemcpy2DAsync(to, static_cast<size_t>(to_row) * sizeof(float), from,
                            static_cast<size_t>(from_row) * sizeof(float),
                            static_cast<size_t>(width) * sizeof(float), static_cast<size_t>(shape_.rows),
                            cudaMemcpyDeviceToDevice, context_.stream),
          "cudaMemcpy2DAsync");
  }

  const Context& context_;
  ops::ConcatShape shape_;
};

}  // namespace

std::unique_ptr<ops::Op> make_concat(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<ConcatOp>(context, spec);
}

}  // namespace lepton::cuda
