// SPDX-License-Identifier: Apache-2.0
// SparseMatMul, the twin of src/ops/sparse_product.cpp: a thread for each element of the result goes over the
// entries of its row in their order, so the bits are the host's. The matrix and its transpose lie on the
// device from the op's making on. Created by make_sparse_product, for kernels/engine.cu.
#include "kernels/operators.h"
#include "kernels/pack.h"

namespace lepton::cuda {

namespace {

/// An array of the device with a copy of the host's.
template <class T>
class Array {
 public:
  explicit Array(const std::vector<T>& values) {
    const size_t bytes = std::max<size_t>(values.size(), 1) * sizeof(T);
    check(cudaMalloc(reinterpret_cast<void**>(&data_), bytes), "cudaMalloc");
    check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { cudaFree(data_); }
  const T* get() const { return data_; }

 private:
  T* data_ = nullptr;
};

struct Compressed {
  explicit Compressed(const ops::SparseMatrix& m)
      : rows(m.rows), columns(m.columns), starts(m.starts), indices(m.indices), values(m.values) {}
  int64_t rows, columns;
  Array<int64_t> starts;
  Array<int32_t> indices;
  Array<float> values;
};

__global__ void __launch_bounds__(threads)
    multiply(int64_t count, int64_t rows, int64_t columns, int64_t width, const int64_t* starts,
             const int32_t* indices, const float* values, const float* x, float* y) {
  for (int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * threads) {
    const int64_t whole = i / width, feature = i - whole * width;
    const int64_t sample = whole / rows, row = whole - sample * rows;
    const float* from = x + sample * columns * width + feature;
    float sum = 0;
    for (int64_t k = starts[row]; k < starts[row + 1]; ++k) sum += values[k] * from[indices[k] * width];
    y[i] = sum;
  }
}

class SparseProductOp : public ops::Op {
 public:
  SparseProductOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        n_(spec.samples),
        width_(spec.inputs[0][1]),
        matrix_(ops::matrix_attribute(spec.attributes, "matrix")),
        transposed_(ops::transposed(ops::matrix_attribute(spec.attributes, "matrix"))) {}

  void forward(const ops::OpForward& run) override { each(matrix_, run.inputs[0], run.output); }
  void backward(const ops::OpBackward& run) override {
    if (float* dx = run.input_gradients[0]) each(transposed_, run.output_gradient, dx);
  }
  ops::BackwardNeeds backward_needs() const override { return {}; }

 private:
  void each(const Compressed& a, const float* x, float* y) const {
    const int64_t count = n_ * a.rows * width_;
    multiply<<<resident_blocks(context_, count, threads), threads, 0, context_.stream>>>(
        count, a.rows, a.columns, width_, a.starts.get(), a.indices.get(), a.values.get(), x, y);
    check_launch("multiply");
  }

  const Context& context_;
  int64_t n_, width_;
  Compressed matrix_, transposed_;
};

}  // namespace

std::unique_ptr<ops::Op> make_sparse_product(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<SparseProductOp>(context, spec);
}

}  // namespace lepton::cuda
