// SPDX-License-Identifier: Apache-2.0
// Transpose: dimensions of a sample in another order. Often nothing moves, because an array [T, F] and its
// transpose [F, T] with channels last are the same memory: then it works in place. Made by the table, run by
// model/executor. Twin: kernels/permute.cu.
#include <algorithm>

#include "ops/permutation.h"
#include "ops/transpose.h"

namespace lepton::ops {

namespace {

/// One sample; both indices of the result's elements go up.
void move_elements(const Permutation& p, const float* x, float* y) {
  int64_t at[permuted_most] = {}, source = 0;
  const int last = p.dimensions - 1;
  for (;;) {
    for (int64_t i = 0; i < p.size[last]; ++i) *y++ = x[source + i * p.from[last]];
    int d = last;
    while (--d >= 0) {
      source += p.from[d];
      if (++at[d] < p.size[d]) break;
      source -= at[d] * p.from[d];
      at[d] = 0;
    }
    if (d < 0) return;
  }
}

void permute(const Permutation& p, int64_t samples, int64_t count, const float* x, float* y) {
  if (p.moves_nothing()) {
    if (x != y) std::copy_n(x, samples * count, y);
    return;
  }
  for (int64_t s = 0; s < samples; ++s, x += count, y += count)
    if (p.dimensions == 2)
      transpose(p.size[1], p.size[0], x, p.size[0], y);
    else
      move_elements(p, x, y);
}

class TransposeOp : public Op {
 public:
  explicit TransposeOp(const OpSpec& spec)
      : n_(spec.samples),
        count_(element_count(spec.output)),
        there_(permutation_of(spec)),
        back_(there_.inverse()) {}

  void forward(const OpForward& run) override { permute(there_, n_, count_, run.inputs[0], run.output); }
  void backward(const OpBackward& run) override {
    if (run.input_gradients[0]) permute(back_, n_, count_, run.output_gradient, run.input_gradients[0]);
  }
  BackwardNeeds backward_needs() const override { return {}; }
  bool in_place() const override { return there_.moves_nothing(); }

 private:
  int64_t n_, count_;
  Permutation there_, back_;
};

}  // namespace

std::unique_ptr<Op> make_transpose(const OpSpec& spec) {
  return std::make_unique<TransposeOp>(spec);
}

}  // namespace lepton::ops
