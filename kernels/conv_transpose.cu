// SPDX-License-Identifier: Apache-2.0
// ConvTranspose on CUDA, the twin of src/ops/conv_transpose.cpp: cuDNN's convolution on planes run backwards,
// in float32 whatever the precision (tf32 where asked for). Created by make_conv_transpose, for
// kernels/engine.cu.
#include <algorithm>

#include "kernels/conv_layout.h"
#include "kernels/operators.h"
#include "kernels/planes.h"
#include "ops/transposed_window.h"

namespace lepton::cuda {

namespace {

class ConvTransposeOp : public ops::Op {
 public:
  ConvTransposeOp(const Context& context, const ops::OpSpec& spec)
      : ConvTransposeOp(context, spec, ops::TransposedWindow(spec)) {}

  void forward(const ops::OpForward& run) override {
    float *large = ops::floats_at(run.scratch, large_), *small = ops::floats_at(run.scratch, small_);
    to_planes(context_, planes_.small, planes_.small, no_shift, run.inputs[0], small);
    convolution_.backward_data(small, run.parameters[0], large, run.scratch + workspace_);
    from_planes(context_, planes_.padded, planes_.large, planes_.before, large, run.output);
    if (bias_)
      add_bias_and_activate(context_, {}, planes_.large.samples * planes_.large.pixels(),
                            planes_.large.channels, false, run.output, run.parameters[1], run.output);
  }

  void backward(const ops::OpBackward& run) override {
    float *large = ops::floats_at(run.scratch, large_), *small = ops::floats_at(run.scratch, small_);
    std::byte* workspace = run.scratch + workspace_;
    if (bias_)
      sum_rows(context_, planes_.large.samples * planes_.large.pixels(), planes_.large.channels,
               run.output_gradient, run.scratch + sums_, run.parameter_gradients[1]);
    to_planes(context_, planes_.large, planes_.padded, planes_.before, run.output_gradient, large);
    if (float* dx = run.input_gradients[0]) {
      convolution_.forward(large, run.parameters[0], small, workspace);
      from_planes(context_, planes_.small, planes_.small, no_shift, small, dx);
    }
    to_planes(context_, planes_.small, planes_.small, no_shift, run.inputs[0], small);
    convolution_.backward_weights(large, small, run.parameter_gradients[0], workspace);
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  ConvTransposeOp(const Context& context, const ops::OpSpec& spec, const ops::TransposedWindow& window)
      : context_(context),
        bias_(spec.parameters.size() > 1),
        planes_(spec.samples, spec.output, spec.inputs[0], window.window, window.group),
        convolution_(context, planes_.shape) {
    convolution_.plan_backward(true);
    ops::MemoryPlan memory;
    large_ = memory.add_floats(planes_.padded.count());
    small_ = memory.add_floats(planes_.small.count());
    if (bias_ && spec.training)
      sums_ = memory.add(
          sum_rows_scratch_bytes(planes_.large.samples * planes_.large.pixels(), planes_.large.channels));
    workspace_ =
        memory.add(std::max(convolution_.forward_workspace_bytes(), convolution_.backward_workspace_bytes()));
    scratch_bytes_ = memory.bytes();
  }

  const Context& context_;
  bool bias_;
  PlanesConvolution planes_;
  CudnnConvolution convolution_;
  size_t large_ = 0, small_ = 0, sums_ = 0, workspace_ = 0;
};

}  // namespace

std::unique_ptr<ops::Op> make_conv_transpose(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<ConvTransposeOp>(context, spec);
}

}  // namespace lepton::cuda
