// SPDX-License-Identifier: Apache-2.0
// ConvTranspose: the transpose of a convolution over one to three dimensions, by oneDNN's convolution run
// backwards: y is what the gradient of its images is for x as the gradient of the filtered ones. So backward
// is that convolution's forward (dx from dy) and its weight gradient (from dy and x). Weights lie as ONNX has
// them, [C, M / group, ...], which is what that convolution wants. Made by the table, run by model/executor.
// Twin: kernels/conv_transpose.cu.
#include <algorithm>

#include "base/simd.h"
#include "ops/convolution.h"
#include "ops/transposed_window.h"

namespace lepton::ops {

namespace {

LEPTON_SIMD void add_bias(int64_t pixels, int64_t channels, const float* bias, float* y) {
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t c = 0; c < channels; ++c) y[p * channels + c] += bias[c];
}

class ConvTransposeOp : public Op {
 public:
  explicit ConvTransposeOp(const OpSpec& spec)
      : bias_(spec.parameters.size() > 1),
        channels_(spec.output[0]),
        pixels_(spec.samples * element_count(spec.output) / channels_) {
    const TransposedWindow window(spec);
    const onednn::Convolution c =
        convolution_of({spec.samples, spec.output, spec.inputs[0], spec.parameters[0], window.group},
                       window.window, spec.precision);
    const onednn::Desc plain = plain_weights(c);
    expand_ = onednn::convolution_backward_data(c);
    expand_weights_ = Packed::operand(plain, expand_.weights);
    input_ = image_operand(c, c.destination);
    plan({&expand_weights_, &input_}, expand_.scratchpad_bytes);
    if (!spec.training) return;
    if (spec.input_needs_gradient[0]) {
      contract_ = onednn::convolution_forward(c, true);
      contract_weights_ = Packed::operand(plain, contract_.weights);
    }
    weights_ = onednn::convolution_backward_weights(c);
    weights_gradient_ = Packed::result(plain, weights_.weights);
    gradient_ = image_operand(c, c.source);
    input_again_ = image_operand(c, c.destination);
    plan({&contract_weights_, &weights_gradient_, &gradient_, &input_again_},
         std::max(contract_.scratchpad_bytes, weights_.scratchpad_bytes));
  }

  void forward(const OpForward& run) override {
    std::byte* pad = run.scratch;
    const void* x = input_.pack(run.inputs[0], run.scratch, pad);
    const void* weights = expand_weights_.pack(run.parameters[0], run.scratch, pad);
    expand_.primitive.run({run.output, weights, x, pad});
    if (bias_) add_bias(pixels_, channels_, run.parameters[1], run.output);
  }

  void backward(const OpBackward& run) override {
    std::byte* pad = run.scratch;
    const void* dy = gradient_.pack(run.output_gradient, run.scratch, pad);
    if (run.input_gradients[0]) {
      const void* weights = contract_weights_.pack(run.parameters[0], run.scratch, pad);
      contract_.primitive.run({dy, weights, run.input_gradients[0], pad});
    }
    const void* x = input_again_.pack(run.inputs[0], run.scratch, pad);
    void* const weights = weights_gradient_.target(run.parameter_gradients[0], run.scratch);
    weights_.primitive.run({dy, weights, x, pad});
    weights_gradient_.unpack(run.parameter_gradients[0], run.scratch, pad);
    if (bias_) sum_rows(pixels_, channels_, run.output_gradient, run.parameter_gradients[1]);
  }

  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  // Scratch begins with one scratchpad that serves the primitives of a direction in turn.
  void plan(std::initializer_list<Packed*> packed, size_t pad) {
    for (const Packed* one : packed) pad = std::max(pad, one->scratchpad_bytes());
    MemoryPlan memory;
    memory.add(pad);
    for (Packed* one : packed) one->place(memory);
    scratch_bytes_ = std::max(scratch_bytes_, memory.bytes());
  }

  bool bias_;
  int64_t channels_, pixels_;  ///< of the output; pixels of all samples
  onednn::Planned expand_, contract_, weights_;
  Packed input_, expand_weights_, input_again_, gradient_, contract_weights_, weights_gradient_;
};

}  // namespace

Shape infer_conv_transpose(const OpSpec& spec) {
  const Shape& x = spec.inputs[0];
  require_shape(!spec.parameters.empty() && spec.parameters[0].size() == x.size() + 1,
                "ConvTranspose of " + shape_text(x) + " needs weights [channels, filters / group, height, " +
                    "width] or of as many dimensions");
  const Shape& w = spec.parameters[0];
  const TransposedWindow window(spec);
  check_kernel(spec, window.window, "");
  require_shape(window.group >= 1 && w[0] == x[0] && w[0] % window.group == 0,
                "ConvTranspose weights " + shape_text(w) + " in " + std::to_string(window.group) +
                    " groups do not fit the input " + shape_text(x));
  Shape output = window.output;
  output.insert(output.begin(), w[1] * window.group);
  require_shape(spec.parameters.size() == 1 || spec.parameters[1] == Shape{output[0]},
                "ConvTranspose bias does not fit the weights " + shape_text(w));
  return output;
}

std::unique_ptr<Op> make_conv_transpose(const OpSpec& spec) {
  return std::make_unique<ConvTransposeOp>(spec);
}

}  // namespace lepton::ops
