// SPDX-License-Identifier: Apache-2.0
// Transpose, the twin of src/ops/permute.cpp: each element of the result is fetched by its indices; nothing
// moves where the layouts make it so. Created by make_transpose, for kernels/engine.cu.
#include "kernels/operators.h"
#include "kernels/pack.h"
#include "ops/permutation.h"

namespace lepton::cuda {

namespace {

__global__ void fetch(int64_t samples, int64_t count, ops::Permutation p, const float* x, float* y) {
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < samples * count;
       i += int64_t{gridDim.x} * threads) {
    const int64_t sample = i / count;
    int64_t rest = i - sample * count, from = sample * count;
#pragma unroll  // so that the arrays are parameters, not memory
    for (int d = ops::permuted_most - 1; d >= 0; --d) {
      if (d >= p.dimensions) continue;
      const int64_t next = rest / p.size[d];
      from += (rest - next * p.size[d]) * p.from[d];
      rest = next;
    }
    y[i] = x[from];
  }
}

class TransposeOp : public ops::Op {
 public:
  TransposeOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        n_(spec.samples),
        count_(element_count(spec.output)),
        there_(ops::permutation_of(spec)),
        back_(there_.inverse()) {}

  void forward(const ops::OpForward& run) override { permute(there_, run.inputs[0], run.output); }
  void backward(const ops::OpBackward& run) override {
    if (run.input_gradients[0]) permute(back_, run.output_gradient, run.input_gradients[0]);
  }
  ops::BackwardNeeds backward_needs() const override { return {}; }
  bool in_place() const override { return there_.moves_nothing(); }

 private:
  void permute(const ops::Permutation& p, const float* x, float* y) const {
    if (p.moves_nothing()) {
      const size_t bytes = static_cast<size_t>(n_ * count_) * sizeof(float);
      if (x != y)
        check(cudaMemcpyAsync(y, x, bytes, cudaMemcpyDeviceToDevice, context_.stream), "cudaMemcpyAsync");
      return;
    }
    fetch<<<resident_blocks(context_, n_ * count_, threads), threads, 0, context_.stream>>>(n_, count_, p, x,
                                                                                            y);
    check_launch("fetch");
  }

  const Context& context_;
  int64_t n_, count_;
  ops::Permutation there_, back_;
};

}  // namespace

std::unique_ptr<ops::Op> make_transpose(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<TransposeOp>(context, spec);
}

}  // namespace lepton::cuda
