// SPDX-License-Identifier: Apache-2.0
// Slice, Pad and Resize, the twin of src/ops/remap.cpp: a thread for each element of the output, which reads
// its taps, or of the input, which asks the outputs that may have read it, in the host's order. Created by
// make_remap, for kernels/engine.cu.
#include "ops/remap.h"

#include "kernels/operators.h"
#include "kernels/pack.h"

namespace lepton::cuda {

namespace {

using ops::AxisRule, ops::Readers, ops::Remap, ops::Taps;

constexpr int remap_threads = 128, most = ops::remapped_most;

__global__ void __launch_bounds__(remap_threads) remap_kernel(Remap remap, const float* x, float* y) {
  for (int64_t i = int64_t{blockIdx.x} * remap_threads + threadIdx.x; i < remap.out_count;
       i += int64_t{gridDim.x} * remap_threads) {
    Taps taps[most];
    int64_t rest = i;
    int combinations = 1;
#pragma unroll  // so that the arrays are registers, not memory
    for (int d = most - 1; d >= 0; --d) {
      if (d >= remap.axes) continue;
      const int64_t next = rest / remap.rule[d].out;
      taps[d] = taps_of(remap.rule[d], rest - next * remap.rule[d].out);
      combinations *= taps[d].count;
      rest = next;
    }
    float sum = remap.value;
    for (int c = 0; c < combinations; ++c) {
      int left = combinations, number = c;
      int64_t place = 0;
      float weight = 1;
#pragma unroll
      for (int d = 0; d < most; ++d) {
        if (d >= remap.axes) continue;
        left /= taps[d].count;
        const bool second = number >= left && taps[d].count > 1;
        number -= second ? left : 0;
        place = place * remap.rule[d].in + (second ? taps[d].index[1] : taps[d].index[0]);
        weight *= second ? taps[d].weight[1] : taps[d].weight[0];
      }
      const float term = combinations == 1 ? x[place] : weight * x[place];
      sum = c == 0 ? term : sum + term;
    }
    y[i] = sum;
  }
}

__global__ void __launch_bounds__(remap_threads)
    remap_gradient_kernel(Remap remap, const float* dy, float* dx) {
  for (int64_t j = int64_t{blockIdx.x} * remap_threads + threadIdx.x; j < remap.in_count;
       j += int64_t{gridDim.x} * remap_threads) {
    Readers readers[most];
    int64_t index[most];
    int64_t rest = j, candidates = 1;
#pragma unroll
    for (int d = most - 1; d >= 0; --d) {
      if (d >= remap.axes) continue;
      const int64_t next = rest / remap.rule[d].in;
      index[d] = rest - next * remap.rule[d].in;
      readers[d] = readers_of(remap.rule[d], index[d]);
      candidates *= readers[d].count;
      rest = next;
    }
    float sum = 0;
    for (int64_t c = 0; c < candidates; ++c) {
      int64_t left = candidates, number = c, place = 0;
      float weight = 1;
      bool reads = true;
#pragma unroll
      for (int d = 0; d < most; ++d) {
        if (d >= remap.axes) continue;
        left /= readers[d].count;
        const int64_t k = number / left, i = reader_of(remap.rule[d], readers[d], index[d], k);
        number -= k * left;
        const float own = i < 0 ? 0.0f : weight_of(remap.rule[d], i, index[d]);
        reads = reads && own != 0.0f;
        weight *= own;
        place = place * remap.rule[d].out + i;
      }
      if (reads) sum += weight * dy[place];
    }
    dx[j] = sum;
  }
}

class RemapOp : public ops::Op {
 public:
  RemapOp(const Context& context, const ops::OpSpec& spec) : context_(context), remap_(ops::remap_of(spec)) {}

  void forward(const ops::OpForward& run) override {
    remap_kernel<<<resident_blocks(context_, remap_.out_count, remap_threads), remap_threads, 0,
                   context_.stream>>>(remap_, run.inputs[0], run.output);
    check_launch("remap");
  }
  void backward(const ops::OpBackward& run) override {
    if (!run.input_gradients[0]) return;
    remap_gradient_kernel<<<resident_blocks(context_, remap_.in_count, remap_threads), remap_threads, 0,
                            context_.stream>>>(remap_, run.output_gradient, run.input_gradients[0]);
    check_launch("remap_gradient");
  }
  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  const Context& context_;
  Remap remap_;
};

}  // namespace

std::unique_ptr<ops::Op> make_remap(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<RemapOp>(context, spec);
}

}  // namespace lepton::cuda
