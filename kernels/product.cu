// SPDX-License-Identifier: Apache-2.0
// MatMul of two values, the twin of src/ops/product.cpp: tiles in shared memory, float32, inner indices in
// order. A block has a tile of one matrix: of the result, or of an operand's gradient, for which it goes over
// all products that used it. Created by make_product, for kernels/engine.cu.
#include "kernels/broadcast.h"
#include "kernels/operators.h"
#include "ops/product_shape.h"

namespace lepton::cuda {

namespace {

constexpr int side = 16;

/// A matrix as it is read: element (row, column) at row * row_step + column * column_step.
struct Operand {
  const float* at;
  int64_t row_step, column_step;
};

/// sum += rows first_row .. of a times columns first_column .. of b; every thread of the block has one.
__device__ float multiply_tile(int64_t rows, int64_t columns, int64_t inner, Operand a, Operand b,
                               float sum) {
  __shared__ float left[side][side + 1], right[side][side + 1];
  const int64_t row = int64_t{blockIdx.y} * side + threadIdx.y;
  const int64_t column = int64_t{blockIdx.x} * side + threadIdx.x;
  for (int64_t k = 0; k < inner; k += side) {
    const int64_t k_left = k + threadIdx.x, k_right = k + threadIdx.y;
    left[threadIdx.y][threadIdx.x] =
        row < rows && k_left < inner ? a.at[row * a.row_step + k_left * a.column_step] : 0.0f;
    right[threadIdx.y][threadIdx.x] =
        column < columns && k_right < inner ? b.at[k_right * b.row_step + column * b.column_step] : 0.0f;
    __syncthreads();
    for (int i = 0; i < side; ++i) sum += left[threadIdx.y][i] * right[i][threadIdx.x];
    __syncthreads();
  }
  return sum;
}

/// Sizes of a MatMul, without what ops::ProductShape needs on the host alone.
struct ProductSizes {
  int64_t rows, inner, columns;
};

__device__ void store_tile(int64_t rows, int64_t columns, float value, float* to) {
  const int64_t row = int64_t{blockIdx.y} * side + threadIdx.y;
  const int64_t column = int64_t{blockIdx.x} * side + threadIdx.x;
  if (row < rows && column < columns) to[row * columns + column] = value;
}

__global__ void __launch_bounds__(side* side)
    product_kernel(ProductSizes s, ops::Broadcast b, const float* x0, const float* x1, float* y) {
  for (int64_t i = blockIdx.z; i < b.count; i += gridDim.z) {
    const Operand left{x0 + place_of(b, 0, i) * s.rows * s.inner, s.inner, 1};
    const Operand right{x1 + place_of(b, 1, i) * s.inner * s.columns, s.columns, 1};
    store_tile(s.rows, s.columns, multiply_tile(s.rows, s.columns, s.inner, left, right, 0.0f),
               y + i * s.rows * s.columns);
  }
}

__global__ void __launch_bounds__(side* side)
    left_gradient_kernel(ProductSizes s, ops::Broadcast b, const float* x1, const float* dy, float* dx) {
  for (int64_t e = blockIdx.z; e < b.own[0]; e += gridDim.z) {
    const Origin origin = origin_of(b, 0, e);
    float sum = 0;
    for (int64_t j = 0; j < b.count / b.own[0]; ++j) {
      const int64_t i = origin.large + share_of(b, 0, j);
      const Operand left{dy + i * s.rows * s.columns, s.columns, 1};
      const Operand right{x1 + place_of(b, 1, i) * s.inner * s.columns, 1, s.columns};
      sum = multiply_tile(s.rows, s.inner, s.columns, left, right, sum);
    }
    store_tile(s.rows, s.inner, sum, dx + origin.own * s.rows * s.inner);
  }
}

__global__ void __launch_bounds__(side* side)
    right_gradient_kernel(ProductSizes s, ops::Broadcast b, const float* x0, const float* dy, float* dx) {
  for (int64_t e = blockIdx.z; e < b.own[1]; e += gridDim.z) {
    const Origin origin = origin_of(b, 1, e);
    float sum = 0;
    for (int64_t j = 0; j < b.count / b.own[1]; ++j) {
      const int64_t i = origin.large + share_of(b, 1, j);
      const Operand left{x0 + place_of(b, 0, i) * s.rows * s.inner, 1, s.inner};
      const Operand right{dy + i * s.rows * s.columns, s.columns, 1};
      sum = multiply_tile(s.inner, s.columns, s.rows, left, right, sum);
    }
    store_tile(s.inner, s.columns, sum, dx + origin.own * s.inner * s.columns);
  }
}

dim3 grid_of(int64_t matrices, int64_t rows, int64_t columns) {
  return dim3(blocks_for(columns, side), blocks_for(rows, side),
              static_cast<unsigned>(std::min<int64_t>(matrices, 65535)));
}

class ProductOp : public ops::Op {
 public:
  ProductOp(const Context& context, const ops::OpSpec& spec) : context_(context), shape_(spec) {}

  void forward(const ops::OpForward& run) override {
    product_kernel<<<grid_of(shape_.matrices.count, shape_.rows, shape_.columns), block_, 0,
                     context_.stream>>>(sizes(), shape_.matrices, run.inputs[0], run.inputs[1], run.output);
    check_launch("product");
  }
  void backward(const ops::OpBackward& run) override {
    if (float* dx = run.input_gradients[0])
      left_gradient_kernel<<<grid_of(shape_.matrices.own[0], shape_.rows, shape_.inner), block_, 0,
                             context_.stream>>>(sizes(), shape_.matrices, run.inputs[1], run.output_gradient,
                                                dx);
    check_launch("product_left_gradient");
    if (float* dx = run.input_gradients[1])
      right_gradient_kernel<<<grid_of(shape_.matrices.own[1], shape_.inner, shape_.columns), block_, 0,
                              context_.stream>>>(sizes(), shape_.matrices, run.inputs[0], run.output_gradient,
                                                 dx);
    check_launch("product_right_gradient");
  }
  ops::BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  ProductSizes sizes() const { return {shape_.rows, shape_.inner, shape_.columns}; }

  const Context& context_;
  ops::ProductShape shape_;
  dim3 block_{side, side};
};

}  // namespace

std::unique_ptr<ops::Op> make_product(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<ProductOp>(context, spec);
}

}  // namespace lepton::cuda
