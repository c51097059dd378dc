// SPDX-License-Identifier: Apache-2.0
// PRelu (He et al. 2015): LeakyRelu whose slope below 0 is a parameter, one for each channel of an image
// (ONNX shape [C, 1, 1]), for each feature of a vector or sequence, or one for all ([1]). They go along the
// innermost dimension, so elements lie in rows of as many as there are slopes; slopes' gradients are summed
// row by row, in order. Made by the table, run by model/executor. Twin: kernels/prelu.cu.
#include "base/simd.h"
#include "ops/activation_math.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

LEPTON_SIMD void prelu(int64_t rows, int64_t columns, const float* x, const float* slopes, float* y) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      y[r * columns + c] = leaky_relu_element(slopes[c], x[r * columns + c]);
}

LEPTON_SIMD void prelu_gradient(int64_t rows, int64_t columns, const float* x, const float* dy,
                                const float* slopes, float* dx) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t i = r * columns + c;
      dx[i] = leaky_relu_gradient_element(slopes[c], x[i], dy[i]);
    }
}

LEPTON_SIMD void slope_gradients(int64_t rows, int64_t columns, const float* x, const float* dy,
                                 float* dslopes) {
  for (int64_t c = 0; c < columns; ++c) dslopes[c] = 0.0f;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      dslopes[c] += prelu_slope_gradient_element(x[r * columns + c], dy[r * columns + c]);
}

class PReluOp : public Op {
 public:
  explicit PReluOp(const OpSpec& spec)
      : columns_(element_count(spec.parameters[0])),
        rows_(spec.samples * element_count(spec.inputs[0]) / columns_) {}

  void forward(const OpForward& run) override {
    prelu(rows_, columns_, run.inputs[0], run.parameters[0], run.output);
  }
  void backward(const OpBackward& run) override {
    const float *x = run.inputs[0], *dy = run.output_gradient;
    slope_gradients(rows_, columns_, x, dy, run.parameter_gradients[0]);
    if (float* dx = run.input_gradients[0]) prelu_gradient(rows_, columns_, x, dy, run.parameters[0], dx);
  }
  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  int64_t columns_, rows_;
};

}  // namespace

Shape infer_prelu(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  require_shape(spec.parameters.size() == 1, "PRelu needs a slope");
  const Shape& slope = spec.parameters[0];
  Shape by_channel(input.size(), 1);
  by_channel.front() = input.front();
  require_shape(slope == by_channel || slope == Shape{input.back()} || slope == Shape{1},
                "PRelu slope " + shape_text(slope) + " does not fit its input " + shape_text(input) +
                    ": it takes " + shape_text(by_channel) + ", " + shape_text({input.back()}) + " or [1]");
  return input;
}

std::unique_ptr<Op> make_prelu(const OpSpec& spec) {
  return std::make_unique<PReluOp>(spec);
}

}  // namespace lepton::ops
