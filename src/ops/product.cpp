// SPDX-License-Identifier: Apache-2.0
// MatMul of two values, matrix by matrix (ops/small_product.h, which multiplies in a fixed order). Gradients:
// da = dy b^T, db = a^T dy, summed in order over the matrices that an operand's matrix was used for. A
// product with a parameter is a Gemm (matmul.cpp). Made by the table, run by model/executor. Twin:
// kernels/product.cu.
#include <algorithm>

#include "ops/broadcast_runs.h"
#include "ops/product_shape.h"
#include "ops/small_product.h"
#include "ops/transpose.h"

namespace lepton::ops {

namespace {

class ProductOp : public Op {
 public:
  explicit ProductOp(const OpSpec& spec) : shape_(spec) {
    MemoryPlan scratch;
    if (spec.training) transposed_ = scratch.add_floats(shape_.inner * shape_.columns);
    scratch_bytes_ = scratch.bytes();
  }

  void forward(const OpForward& run) override {
    const int64_t m = shape_.rows, k = shape_.inner, n = shape_.columns;
    for (int64_t i = 0; i < shape_.matrices.count; ++i)
      multiply({.rows = m,
                .columns = n,
                .inner = k,
                .a = run.inputs[0] + place(0, i) * m * k,
                .a_row = k,
                .a_inner = 1,
                .b = run.inputs[1] + place(1, i) * k * n,
                .b_inner = n,
                .c = run.output + i * m * n,
                .c_row = n});
  }

  void backward(const OpBackward& run) override {
    const int64_t m = shape_.rows, k = shape_.inner, n = shape_.columns;
    float *da = run.input_gradients[0], *db = run.input_gradients[1];
    if (da) std::fill_n(da, shape_.matrices.own[0] * m * k, 0.0f);
    if (db) std::fill_n(db, shape_.matrices.own[1] * k * n, 0.0f);
    float* transposed = floats_at(run.scratch, transposed_);
    for (int64_t i = 0; i < shape_.matrices.count; ++i) {
      const float* dy = run.output_gradient + i * m * n;
      if (da) {
        transpose(k, n, run.inputs[1] + place(1, i) * k * n, n, transposed);
        multiply({.rows = m,
                  .columns = k,
                  .inner = n,
                  .a = dy,
                  .a_row = n,
                  .a_inner = 1,
                  .b = transposed,
                  .b_inner = k,
                  .c = da + place(0, i) * m * k,
                  .c_row = k,
                  .accumulate = true});
      }
      if (db)
        multiply({.rows = k,
                  .columns = n,
                  .inner = m,
                  .a = run.inputs[0] + place(0, i) * m * k,
                  .a_row = 1,
                  .a_inner = k,
                  .b = dy,
                  .b_inner = n,
                  .c = db + place(1, i) * k * n,
                  .c_row = n,
                  .accumulate = true});
    }
  }

  BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  /// The matrix of operand `k` in product i.
  int64_t place(int k, int64_t i) const {
    int64_t result = 0;
    for_runs(shape_.matrices, k, i, 1, [&](int64_t from, int64_t, int64_t) { result = from; });
    return result;
  }

  ProductShape shape_;
  size_t transposed_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_product(const OpSpec& spec) {
  return std::make_unique<ProductOp>(spec);
}

}  // namespace lepton::ops
