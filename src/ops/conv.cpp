// SPDX-License-Identifier: Apache-2.0
// Conv: convolution over one to three dimensions, grouped and dilated, by oneDNN. Activations are channels
// last throughout; weights are OIHW in the arena and packed into the order oneDNN prefers in scratch, once
// per unit and direction. Backward, with dz = dy f'(y): dx by backward data, dW and db by backward weights.
// Blocked activations would make dW faster by itself (one input channel: 280 against 805 us; three: 449
// against 536), but reordering dz costs what that gains (541 and 292 us), so nhwc it is for every shape. In
// bf16 the images, too, are rounded into scratch, and db is our own loop, because the primitive would sum dz
// as it was rounded. Made by the table, run by model/executor.
#include <algorithm>

#include "ops/convolution.h"

namespace lepton::ops {

namespace {

class ConvOp : public Op {
 public:
  explicit ConvOp(const OpSpec& spec)
      : activation_(parse_activation(spec.activation, spec.activation_attributes)),
        bias_(spec.parameters.size() > 1),
        sums_bias_(bias_ && spec.precision == Precision::bf16),
        filters_(spec.parameters[0][0]) {
    const Shape &x = spec.inputs[0], &w = spec.parameters[0], &y = spec.output;
    const int64_t group = int_attribute(spec.attributes, "group", 1);
    const Window window = parse_window(spec, kernel_of(w));
    outputs_ = spec.samples * element_count(y);
    convolution_ = convolution_of({spec.samples, x, y, w, group}, window, spec.precision);
    convolution_.bias = bias_;
    plain_weights_ = plain_weights(convolution_);
    plan_forward(spec.training);
    if (spec.training) plan_backward(spec.input_needs_gradient[0]);
  }

  void forward(const OpForward& run) override {
    std::byte* pad = run.scratch;
    const void* x = forward_input_.pack(run.inputs[0], run.scratch, pad);
    const void* weights = forward_weights_.pack(run.parameters[0], run.scratch, pad);
    if (bias_)
      forward_.primitive.run({x, weights, run.output, pad, run.parameters[1]});
    else
      forward_.primitive.run({x, weights, run.output, pad});
  }

  void backward(const OpBackward& run) override {
    const float* dz = run.output_gradient;
    if (activation_.kind != ActivationKind::none) {
      float* own = floats_at(run.scratch, dz_offset_);
      activation_gradient(activation_, outputs_, nullptr, run.output, dz, own);
      dz = own;
    }
    std::byte* pad = run.scratch;
    const void* gradient = gradient_.pack(dz, run.scratch, pad);
    const void* x = input_.pack(run.inputs[0], run.scratch, pad);
    if (run.input_gradients[0]) {
      const void* weights = data_weights_.pack(run.parameters[0], run.scratch, pad);
      data_.primitive.run({run.input_gradients[0], weights, gradient, pad});
    }
    void* const weights = weights_gradient_.target(run.parameter_gradients[0], run.scratch);
    if (bias_ && !sums_bias_)
      weights_.primitive.run({x, weights, gradient, pad, run.parameter_gradients[1]});
    else
      weights_.primitive.run({x, weights, gradient, pad});
    weights_gradient_.unpack(run.parameter_gradients[0], run.scratch, pad);
    if (sums_bias_) sum_rows(outputs_ / filters_, filters_, dz, run.parameter_gradients[1]);
  }

  BackwardNeeds backward_needs() const override {
    return {.inputs = true, .output = activation_.kind != ActivationKind::none};
  }

 private:
  // Scratch begins with one scratchpad that serves the primitives of a direction in turn.
  void plan_forward(bool training) {
    onednn::Convolution c = convolution_;
    c.activation = activation_;
    forward_ = onednn::convolution_forward(c, training);
    forward_weights_ = Packed::operand(plain_weights_, forward_.weights);
    forward_input_ = image_operand(convolution_, convolution_.source);
    MemoryPlan memory;
    memory.add(std::max(
        {forward_.scratchpad_bytes, forward_weights_.scratchpad_bytes(), forward_input_.scratchpad_bytes()}));
    forward_weights_.place(memory);
    forward_input_.place(memory);
    scratch_bytes_ = memory.bytes();
  }

  void plan_backward(bool input_gradient) {
    onednn::Convolution c = convolution_;
    c.bias = bias_ && !sums_bias_;
    if (input_gradient) {
      data_ = onednn::convolution_backward_data(c);
      data_weights_ = Packed::operand(plain_weights_, data_.weights);
    }
    weights_ = onednn::convolution_backward_weights(c);
    weights_gradient_ = Packed::result(plain_weights_, weights_.weights);
    gradient_ = image_operand(convolution_, convolution_.destination);
    input_ = image_operand(convolution_, convolution_.source);

    MemoryPlan memory;
    size_t pad = std::max(data_.scratchpad_bytes, weights_.scratchpad_bytes);
    const auto packed = {&data_weights_, &weights_gradient_, &gradient_, &input_};
    for (const Packed* one : packed) pad = std::max(pad, one->scratchpad_bytes());
    memory.add(pad);
    if (activation_.kind != ActivationKind::none) dz_offset_ = memory.add_floats(outputs_);
    for (Packed* one : packed) one->place(memory);
    scratch_bytes_ = std::max(scratch_bytes_, memory.bytes());
  }

  Activation activation_;
  bool bias_, sums_bias_;
  int64_t outputs_ = 0, filters_;
  onednn::Desc plain_weights_;
  onednn::Convolution convolution_;
  onednn::Planned forward_, data_, weights_;
  Packed forward_input_, forward_weights_, input_, data_weights_, weights_gradient_, gradient_;
  size_t dz_offset_ = 0;
};

}  // namespace

Shape infer_conv(const OpSpec& spec) {
  const Shape& x = spec.inputs[0];
  const Window window = parse_window(spec, spec.parameters.empty() ? Shape{} : kernel_of(spec.parameters[0]));
  check_kernel(spec, window, "[filters, channels / group, height, width] or of as many dimensions");
  const Shape& w = spec.parameters[0];
  const int64_t group = int_attribute(spec.attributes, "group", 1);
  require_shape(group >= 1 && w[1] * group == x[0] && w[0] % group == 0,
                "Conv weights " + shape_text(w) + " in " + std::to_string(group) +
                    " groups do not fit the input " + shape_text(x));
  require_shape(spec.parameters.size() == 1 || spec.parameters[1] == Shape{w[0]},
                "Conv bias does not fit the weights " + shape_text(w));
  Shape output = window_output(spec, window, false);
  output.insert(output.begin(), w[0]);
  return output;
}

std::unique_ptr<Op> make_conv(const OpSpec& spec) {
  return std::make_unique<ConvOp>(spec);
}

}  // namespace lepton::ops
