// SPDX-License-Identifier: Apache-2.0
// Conv over three dimensions on CUDA: cuDNN on planes, in float32 whatever the precision (tf32 where asked
// for). Weights, [F, C / group, D, H, W] in the arena, are what it takes. Bias and activation are one pass of
// our own, as in conv.cu. Created by make_conv.
#include "kernels/conv_layout.h"
#include "kernels/operators.h"
#include "kernels/planes.h"

namespace lepton::cuda {

namespace {

class VolumeConvOp : public ops::Op {
 public:
  VolumeConvOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        activation_(ops::parse_activation(spec.activation, spec.activation_attributes)),
        bias_(spec.parameters.size() > 1),
        planes_(spec.samples, spec.inputs[0], spec.output,
                ops::parse_window(spec, ops::kernel_of(spec.parameters[0])),
                ops::int_attribute(spec.attributes, "group", 1)),
        convolution_(context, planes_.shape) {
    const Planes& small = planes_.small;
    if (spec.training) convolution_.plan_backward(spec.input_needs_gradient[0]);
    ops::MemoryPlan memory;
    large_ = memory.add_floats(planes_.padded.count());
    small_ = memory.add_floats(small.count());
    if (spec.training) {
      if (activation_.kind != ops::ActivationKind::none) dz_ = memory.add_floats(small.count());
      if (bias_) sums_ = memory.add(sum_rows_scratch_bytes(small.samples * small.pixels(), small.channels));
    }
    workspace_ = memory.add(std::max(convolution_.forward_workspace_bytes(),
                                     spec.training ? convolution_.backward_workspace_bytes() : 0));
    scratch_bytes_ = memory.bytes();
  }

  void forward(const ops::OpForward& run) override {
    const Planes& small = planes_.small;
    float *large = ops::floats_at(run.scratch, large_), *result = ops::floats_at(run.scratch, small_);
    to_planes(context_, planes_.large, planes_.padded, planes_.before, run.inputs[0], large);
    convolution_.forward(large, run.parameters[0], result, run.scratch + workspace_);
    from_planes(context_, small, small, no_shift, result, run.output);
    if (bias_ || activation_.kind != ops::ActivationKind::none)
      add_bias_and_activate(context_, activation_, small.samples * small.pixels(), small.channels, false,
                            run.output, bias_ ? run.parameters[1] : nullptr, run.output);
  }

  void backward(const ops::OpBackward& run) override {
    const Planes& small = planes_.small;
    float *large = ops::floats_at(run.scratch, large_), *gradient = ops::floats_at(run.scratch, small_);
    const float* dz = run.output_gradient;
    if (activation_.kind != ops::ActivationKind::none) {
      float* own = ops::floats_at(run.scratch, dz_);
      activation_gradient(context_, activation_, small.count(), nullptr, run.output, dz, own);
      dz = own;
    }
    if (bias_)
      sum_rows(context_, small.samples * small.pixels(), small.channels, dz, run.scratch + sums_,
               run.parameter_gradients[1]);
    to_planes(context_, small, small, no_shift, dz, gradient);
    std::byte* workspace = run.scratch + workspace_;
    if (float* dx = run.input_gradients[0]) {
      convolution_.backward_data(gradient, run.parameters[0], large, workspace);
      from_planes(context_, planes_.padded, planes_.large, planes_.before, large, dx);
    }
    to_planes(context_, planes_.large, planes_.padded, planes_.before, run.inputs[0], large);
    convolution_.backward_weights(large, gradient, run.parameter_gradients[0], workspace);
  }

  ops::BackwardNeeds backward_needs() const override {
    return {.inputs = true, .output = activation_.kind != ops::ActivationKind::none};
  }

 private:
  const Context& context_;
  ops::Activation activation_;
  bool bias_;
  PlanesConvolution planes_;
  CudnnConvolution convolution_;
  size_t large_ = 0, small_ = 0, dz_ = 0, sums_ = 0, workspace_ = 0;
};

}  // namespace

std::unique_ptr<ops::Op> make_volume_conv(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<VolumeConvOp>(context, spec);
}

}  // namespace lepton::cuda
