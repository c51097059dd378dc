// SPDX-License-Identifier: Apache-2.0
// Gather of rows of a table (an embedding), the twin of src/ops/gather.cpp. The gradient is whole here: which
// rows a unit touches is known on the device only. A block sums what a row of the table gets, in the order of
// positions, so the bits are the host's (but for the sign of a zero). A number that is no row gives NaN,
// which stops the step. Created by make_gather, for kernels/engine.cu.
#include <limits>

#include "kernels/operators.h"
#include "kernels/pack.h"

namespace lepton::cuda {

namespace {

constexpr int gather_threads = 128;

__global__ void __launch_bounds__(gather_threads)
    gather(int64_t elements, int64_t rows, int64_t width, const float* __restrict__ numbers,
           const float* __restrict__ table, float* __restrict__ y) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < elements; i += stride) {
    const float number = numbers[i / width];
    const bool inside = number >= 0 && number < static_cast<float>(rows);
    y[i] = inside ? table[static_cast<int64_t>(number) * width + i % width]
                  : std::numeric_limits<float>::quiet_NaN();
  }
}

/// A block for each row of the table; its threads share out the columns.
__global__ void __launch_bounds__(gather_threads)
    gather_gradient(int64_t count, int64_t width, const float* __restrict__ numbers,
                    const float* __restrict__ dy, float* __restrict__ dtable) {
  const auto row = static_cast<int64_t>(blockIdx.x);
  __shared__ float tile[gather_threads];
  for (int64_t base = 0; base < width; base += gather_threads) {
    const int64_t column = base + threadIdx.x;
    float sum = 0;
    for (int64_t first = 0; first < count; first += gather_threads) {
      __syncthreads();  // the numbers of the tile before have been read
      if (first + threadIdx.x < count) tile[threadIdx.x] = numbers[first + threadIdx.x];
      __syncthreads();
      const int64_t here = min(count - first, int64_t{gather_threads});
      for (int64_t i = 0; i < here && column < width; ++i)
        if (static_cast<int64_t>(tile[i]) == row) sum += dy[(first + i) * width + column];
    }
    if (column < width) dtable[row * width + column] = sum;
  }
}

class GatherOp : public ops::Op {
 public:
  GatherOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        count_(spec.samples * element_count(spec.inputs[0])),
        rows_(spec.parameters[0][0]),
        width_(spec.parameters[0][1]) {}

  void forward(const ops::OpForward& run) override {
    gather<<<resident_blocks(context_, count_ * width_, gather_threads), gather_threads, 0,
             context_.stream>>>(count_ * width_, rows_, width_, run.inputs[0], run.parameters[0], run.output);
    check_launch("gather");
  }

  void backward(const ops::OpBackward& run) override {
    CHECK(!run.input_gradients[0], "row numbers have no gradient");
    gather_gradient<<<static_cast<unsigned>(rows_), gather_threads, 0, context_.stream>>>(
        count_, width_, run.inputs[0], run.output_gradient, run.parameter_gradients[0]);
    check_launch("gather_gradient");
  }

  ops::BackwardNeeds backward_needs() const override { return {.inputs = true, .output = false}; }

 private:
  const Context& context_;
  int64_t count_, rows_, width_;
};

}  // namespace

std::unique_ptr<ops::Op> make_gather(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<GatherOp>(context, spec);
}

}  // namespace lepton::cuda
