// SPDX-License-Identifier: Apache-2.0
// SparseMatMul (domain lepton): y = A x for each sample, where x [nodes, features] holds a row per node and A
// is a constant sparse matrix, the attribute `matrix`: what a graph's nodes gather from their neighbours.
// Entries of a row are added in their order; backward is the product with the transpose. Made by the table,
// run by model/executor. Twin: kernels/sparse_product.cu.
#include <algorithm>

#include "base/simd.h"
#include "ops/operators.h"

namespace lepton::ops {

namespace {

LEPTON_SIMD void multiply(const SparseMatrix& a, int64_t width, const float* x, float* y) {
  for (int64_t r = 0; r < a.rows; ++r) {
    float* to = y + r * width;
    std::fill_n(to, width, 0.0f);
    const int64_t end = a.starts[static_cast<size_t>(r) + 1];
    for (int64_t k = a.starts[static_cast<size_t>(r)]; k < end; ++k) {
      const float value = a.values[static_cast<size_t>(k)];
      const float* from = x + a.indices[static_cast<size_t>(k)] * width;
      for (int64_t i = 0; i < width; ++i) to[i] += value * from[i];
    }
  }
}

class SparseProductOp : public Op {
 public:
  explicit SparseProductOp(const OpSpec& spec)
      : n_(spec.samples),
        width_(spec.inputs[0][1]),
        matrix_(matrix_attribute(spec.attributes, "matrix")),
        transposed_(spec.training ? transposed(matrix_) : SparseMatrix{}) {}

  void forward(const OpForward& run) override { each(matrix_, run.inputs[0], run.output); }
  void backward(const OpBackward& run) override {
    if (float* dx = run.input_gradients[0]) each(transposed_, run.output_gradient, dx);
  }
  BackwardNeeds backward_needs() const override { return {}; }

 private:
  void each(const SparseMatrix& a, const float* x, float* y) const {
    for (int64_t s = 0; s < n_; ++s) multiply(a, width_, x + s * a.columns * width_, y + s * a.rows * width_);
  }

  int64_t n_, width_;
  const SparseMatrix& matrix_;  ///< the graph holds it
  SparseMatrix transposed_;
};

}  // namespace

Shape infer_sparse_product(const OpSpec& spec) {
  const SparseMatrix& matrix = matrix_attribute(spec.attributes, "matrix");
  const Shape& input = spec.inputs[0];
  require_shape(input.size() == 2 && input[0] == matrix.columns,
                "SparseMatMul by a matrix of " + std::to_string(matrix.columns) +
                    " columns needs [nodes, features] of as many nodes, not " + shape_text(input));
  return {matrix.rows, input[1]};
}

std::unique_ptr<Op> make_sparse_product(const OpSpec& spec) {
  return std::make_unique<SparseProductOp>(spec);
}

}  // namespace lepton::ops
