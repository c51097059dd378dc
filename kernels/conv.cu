// SPDX-License-Identifier: Apache-2.0
// Conv on CUDA, the twin of src/ops/conv.cpp: convolution over one or two dimensions, grouped and dilated, by
// cuDNN (over three: volume_conv.cu). Activations are nhwc throughout; weights, OIHW in the arena, are packed
// channels last in scratch for each run and their gradient unpacked. cuDNN pads both sides alike: other pads
// are written out in scratch, dx is cut back. Bias and activation are one pass of our own, so that f has the
// host's bits. Backward, with dz = dy f'(y): dx by backward data, dW by backward filter, db = sum over
// samples and pixels of dz. In bf16 operands are rounded in scratch, and y before bias, dx and dW come from
// cuDNN as bfloat16 (their sums are float32) and are widened.
#include <algorithm>
#include <optional>

#include "kernels/conv_layout.h"
#include "kernels/cudnn_convolution.h"
#include "kernels/operators.h"

namespace lepton::cuda {

namespace {

class ConvOp : public ops::Op {
 public:
  ConvOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        activation_(ops::parse_activation(spec.activation, spec.activation_attributes)),
        bias_(spec.parameters.size() > 1),
        narrow_(context.precision == ops::Precision::bf16) {
    const Shape &x = spec.inputs[0], &w = spec.parameters[0], &y = spec.output;
    channels_ = w[0];
    pixels_ = spec.samples * element_count(y) / y[0];
    filters_ = {w[0], w[1], element_count(w) / (w[0] * w[1])};
    images_ = {spec.samples, x.size() == 2 ? 1 : x[1], x.back() * x[0]};
    convolution_.emplace(context, convolution_shape(spec));
    plan_forward();
    if (spec.training) plan_backward(spec.input_needs_gradient[0]);
  }

  void forward(const ops::OpForward& run) override {
    const Memory& memory = forward_memory_;
    const void* x = images(run.inputs[0], run.scratch + memory.x);
    const void* weights = packed(run.parameters[0], run.scratch + memory.weights);
    void* sums = narrow_ ? static_cast<void*>(run.scratch + memory.y) : run.output;
    convolution_->forward(x, weights, sums, memory.workspace.at(run.scratch));
    if (narrow_ || bias_ || activation_.kind != ops::ActivationKind::none)
      add_bias_and_activate(context_, activation_, pixels_, channels_, narrow_, sums,
                            bias_ ? run.parameters[1] : nullptr, run.output);
  }

  void backward(const ops::OpBackward& run) override {
    const Memory& memory = backward_memory_;
    const float* dz = run.output_gradient;
    if (activation_.kind != ops::ActivationKind::none) {
      float* own = ops::floats_at(run.scratch, memory.dz);
      activation_gradient(context_, activation_, pixels_ * channels_, nullptr, run.output, dz, own);
      dz = own;
    }
    if (bias_)
      sum_rows(context_, pixels_, channels_, dz, run.scratch + memory.sums, run.parameter_gradients[1]);
    const void* operand = dz;
    if (narrow_) {
      narrow(context_, pixels_ * channels_, dz, bfloat16_at(run.scratch, memory.y));
      operand = run.scratch + memory.y;
    }
    if (run.input_gradients[0]) input_gradient(run, operand);
    weight_gradient(run, operand);
  }

  ops::BackwardNeeds backward_needs() const override {
    return {.inputs = true, .output = activation_.kind != ops::ActivationKind::none};
  }

 private:
  /// Offsets in scratch, of one direction: x (and dx after it has been used), weights and their gradient, y
  /// or dz as cuDNN takes them; dz in float32; what sum_rows needs.
  struct Memory {
    size_t x = 0, weights = 0, y = 0, dz = 0, sums = 0;
    Workspace workspace;
  };

  /// With symmetric pads, if need be those of the input written out, which then is `padded_`.
  ConvolutionShape convolution_shape(const ops::OpSpec& spec) {
    const Shape &x = spec.inputs[0], &w = spec.parameters[0], &y = spec.output;
    const ops::Window window = ops::parse_window(spec, ops::kernel_of(w));
    ConvolutionShape shape{.samples = spec.samples,
                           .groups = ops::int_attribute(spec.attributes, "group", 1),
                           .channels = x[0],
                           .filters = w[0]};
    bool symmetric = true;
    int64_t before[2] = {}, behind[2] = {};
    for (size_t axis = 0; axis < 2; ++axis) {
      shape.input[axis] = shape.output[axis] = shape.kernel[axis] = 1;
      shape.stride[axis] = shape.dilation[axis] = 1;
      if (axis + window.axes < 2) continue;  // the height of a sequence
      const size_t own = axis + window.axes - 2;
      shape.input[axis] = x[own + 1];
      shape.output[axis] = y[own + 1];
      shape.kernel[axis] = window.kernel[own];
      shape.stride[axis] = window.stride[own];
      shape.dilation[axis] = window.dilation[own];
      shape.pad[axis] = before[axis] = window.pad_begin[own];
      behind[axis] = window.pad_end[own];
      // The leading pad says where windows lie; the trailing one only how many there are.
      const int64_t room = x[own + 1] + 2 * window.pad_begin[own] - window.reach(own);
      symmetric = symmetric && room >= 0 && room / window.stride[own] + 1 == y[own + 1];
    }
    if (symmetric) return shape;
    for (int axis = 0; axis < 2; ++axis) {
      shape.input[axis] += before[axis] + behind[axis];
      shape.pad[axis] = 0;
    }
    padded_ = Images{spec.samples, shape.input[0], shape.input[1] * x[0]};
    down_ = before[0];
    right_ = before[1] * x[0];
    return shape;
  }

  size_t add(ops::MemoryPlan& memory, int64_t count) const {
    return memory.add(static_cast<size_t>(count) * (narrow_ ? sizeof(Bfloat16) : sizeof(float)));
  }

  // What cuDNN takes as it lies in the op's memory needs no place.
  void place_operands(ops::MemoryPlan& memory, Memory& offsets) const {
    if (narrow_ || padded_) offsets.x = add(memory, padded_ ? padded_->count() : images_.count());
    if (narrow_ || !filters_.same_layout()) offsets.weights = add(memory, filters_.count());
    if (narrow_) offsets.y = add(memory, pixels_ * channels_);
  }

  void plan_forward() {
    ops::MemoryPlan memory;
    place_operands(memory, forward_memory_);
    forward_memory_.workspace.place(memory, convolution_->forward_workspace_bytes());
    scratch_bytes_ = memory.bytes();
  }

  void plan_backward(bool input_gradient) {
    convolution_->plan_backward(input_gradient);
    ops::MemoryPlan memory;
    place_operands(memory, backward_memory_);
    if (activation_.kind != ops::ActivationKind::none)
      backward_memory_.dz = memory.add_floats(pixels_ * channels_);
    if (bias_) backward_memory_.sums = memory.add(sum_rows_scratch_bytes(pixels_, channels_));
    backward_memory_.workspace.place(memory, convolution_->backward_workspace_bytes());
    scratch_bytes_ = std::max(scratch_bytes_, memory.bytes());
  }

  /// The input as cuDNN takes it: itself, or padded and rounded at `place`.
  const void* images(const float* x, std::byte* place) const {
    if (!narrow_ && !padded_) return x;
    if (padded_)
      pad(context_, images_, *padded_, down_, right_, narrow_, x, place);
    else
      narrow(context_, images_.count(), x, bfloat16_at(place, 0));
    return place;
  }

  const void* packed(const float* weights, std::byte* place) const {
    if (!narrow_ && filters_.same_layout()) return weights;
    pack(context_, filters_, narrow_, weights, place);
    return place;
  }

  void input_gradient(const ops::OpBackward& run, const void* dz) const {
    const Memory& memory = backward_memory_;
    const void* weights = packed(run.parameters[0], run.scratch + memory.weights);
    float* dx = run.input_gradients[0];
    std::byte* place = run.scratch + memory.x;
    const bool direct = !narrow_ && !padded_;
    convolution_->backward_data(dz, weights, direct ? static_cast<void*>(dx) : place,
                                memory.workspace.at(run.scratch));
    if (padded_)
      cut(context_, *padded_, images_, down_, right_, narrow_, place, dx);
    else if (narrow_)
      widen(context_, images_.count(), bfloat16_at(place, 0), dx);
  }

  // Where weights and dx lay in scratch before: the stream does one after the other.
  void weight_gradient(const ops::OpBackward& run, const void* dz) const {
    const Memory& memory = backward_memory_;
    const void* x = images(run.inputs[0], run.scratch + memory.x);
    float* dw = run.parameter_gradients[0];
    std::byte* place = run.scratch + memory.weights;
    const bool direct = !narrow_ && filters_.same_layout();
    convolution_->backward_weights(x, dz, direct ? static_cast<void*>(dw) : place,
                                   memory.workspace.at(run.scratch));
    if (!direct) unpack(context_, filters_, narrow_, place, dw);
  }

  const Context& context_;
  ops::Activation activation_;
  bool bias_, narrow_;
  int64_t channels_ = 0, pixels_ = 0;  ///< of the output; pixels of all samples
  Filters filters_;
  Images images_;
  std::optional<Images> padded_;
  int64_t down_ = 0, right_ = 0;
  std::optional<CudnnConvolution> convolution_;
  Memory forward_memory_, backward_memory_;
};

}  // namespace

std::unique_ptr<ops::Op> make_conv(const Context& context, const ops::OpSpec& spec) {
  if (spec.inputs[0].size() == 4) return make_volume_conv(context, spec);
  return std::make_unique<ConvOp>(context, spec);
}

}  // namespace lepton::cuda
