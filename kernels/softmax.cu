// SPDX-License-Identifier: Apache-2.0
// Softmax over the last dimension of memory: features of a vector, channels of an image. y = e^(x - max) /
// sum, dx = y (dy - sum(dy y)); LogSoftmax: y = x - max - ln(sum), dx = dy - e^y sum(dy). A row belongs to a
// power of two of threads: a part of a warp, or a block where rows are long. Sums are in double: each
// thread's in strides, then a butterfly, an order that depends on the width alone. Twin: src/ops/softmax.cpp.
#include <algorithm>

#include "kernels/operators.h"
#include "ops/layouts.h"
#include "ops/math.h"

namespace lepton::cuda {

namespace {

// As the host's: a NaN that is not first is passed over here, and caught by the sum.
struct Larger {
  __device__ float operator()(float a, float b) const { return b > a ? b : a; }
};
struct Sum {
  __device__ double operator()(double a, double b) const { return a + b; }
};

/// Combines one value per thread over the `lanes` threads of a row, a power of two; each gets the result, all
/// the same bits. Called by all threads of a block.
template <typename Value, typename Combine>
__device__ Value combine(Value value, int lanes, Combine with) {
  for (int offset = min(lanes, warp) / 2; offset > 0; offset /= 2)
    value = with(value, __shfl_xor_sync(0xffffffffu, value, offset));
  if (lanes <= warp) return value;
  __shared__ Value of_warp[warps];
  __syncthreads();  // the values of the call before have been read
  if (threadIdx.x % warp == 0) of_warp[threadIdx.x / warp] = value;
  __syncthreads();
  value = of_warp[0];
  for (int i = 1; i < warps; ++i) value = with(value, of_warp[i]);
  return value;
}

// `lanes` threads per row: a power of two up to 32, or the block. Rows past the end have no elements, for all
// threads take part in combine(). y may be x: a thread reads again only what it wrote itself.
__global__ void softmax_kernel(int lanes, int64_t width, int64_t rows, const float* x, float* y) {
  const int64_t rows_per_block = threads / lanes, lane = threadIdx.x % lanes, place = threadIdx.x / lanes;
  for (int64_t base = blockIdx.x * rows_per_block; base < rows; base += gridDim.x * rows_per_block) {
    const int64_t row = base + place, end = row < rows ? width : 0;
    const float* in = x + row * width;
    float* out = y + row * width;
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t i = lane; i < end; i += lanes) largest = Larger{}(largest, in[i]);
    largest = combine(largest, lanes, Larger{});
    double sum = 0;
    for (int64_t i = lane; i < end; i += lanes) {
      const float e = ops::math::exp(in[i] - largest);
      sum += static_cast<double>(e);
      out[i] = e;
    }
    const float factor = static_cast<float>(1.0 / combine(sum, lanes, Sum{}));
    for (int64_t i = lane; i < end; i += lanes) out[i] *= factor;
  }
}

// dx may be dy.
__global__ void softmax_gradient_kernel(int lanes, int64_t width, int64_t rows, const float* y,
                                        const float* dy, float* dx) {
  const int64_t rows_per_block = threads / lanes, lane = threadIdx.x % lanes, place = threadIdx.x / lanes;
  for (int64_t base = blockIdx.x * rows_per_block; base < rows; base += gridDim.x * rows_per_block) {
    const int64_t row = base + place, first = row * width + lane, end = row < rows ? (row + 1) * width : 0;
    double sum = 0;
    for (int64_t i = first; i < end; i += lanes)
      sum += static_cast<double>(dy[i]) * static_cast<double>(y[i]);
    sum = combine(sum, lanes, Sum{});
    for (int64_t i = first; i < end; i += lanes)
      dx[i] = static_cast<float>(static_cast<double>(y[i]) * (static_cast<double>(dy[i]) - sum));
  }
}

// y may be x.
__global__ void log_softmax_kernel(int lanes, int64_t width, int64_t rows, const float* x, float* y) {
  const int64_t rows_per_block = threads / lanes, lane = threadIdx.x % lanes, place = threadIdx.x / lanes;
  for (int64_t base = blockIdx.x * rows_per_block; base < rows; base += gridDim.x * rows_per_block) {
    const int64_t row = base + place, first = row * width + lane, end = row < rows ? (row + 1) * width : 0;
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t i = first; i < end; i += lanes) largest = Larger{}(largest, x[i]);
    largest = combine(largest, lanes, Larger{});
    double sum = 0;
    for (int64_t i = first; i < end; i += lanes) sum += static_cast<double>(ops::math::exp(x[i] - largest));
    sum = combine(sum, lanes, Sum{});
    const double logarithm = sum >= 1.0 ? ops::math::log_double(sum) : sum;  // a NaN stays one
    for (int64_t i = first; i < end; i += lanes)
      y[i] = static_cast<float>(static_cast<double>(x[i] - largest) - logarithm);
  }
}

// dx may be dy.
__global__ void log_softmax_gradient_kernel(int lanes, int64_t width, int64_t rows, const float* y,
                                            const float* dy, float* dx) {
  const int64_t rows_per_block = threads / lanes, lane = threadIdx.x % lanes, place = threadIdx.x / lanes;
  for (int64_t base = blockIdx.x * rows_per_block; base < rows; base += gridDim.x * rows_per_block) {
    const int64_t row = base + place, first = row * width + lane, end = row < rows ? (row + 1) * width : 0;
    double sum = 0;
    for (int64_t i = first; i < end; i += lanes) sum += static_cast<double>(dy[i]);
    const float total = static_cast<float>(combine(sum, lanes, Sum{}));
    for (int64_t i = first; i < end; i += lanes) dx[i] = dy[i] - ops::math::exp(y[i]) * total;
  }
}

int lanes_for(int64_t width) {
  if (width > 1024) return threads;
  int lanes = 1;
  while (lanes < width && lanes < warp) lanes *= 2;
  return lanes;
}

class SoftmaxOp : public ops::Op {
 public:
  SoftmaxOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        width_(ops::innermost(spec.inputs[0], spec.layouts[0])),
        rows_(spec.samples * element_count(spec.inputs[0]) / width_),
        lanes_(lanes_for(width_)),
        forward_(spec.type == "LogSoftmax" ? log_softmax_kernel : softmax_kernel),
        backward_(spec.type == "LogSoftmax" ? log_softmax_gradient_kernel : softmax_gradient_kernel) {}

  void forward(const ops::OpForward& run) override {
    forward_<<<blocks(), threads, 0, context_.stream>>>(lanes_, width_, rows_, run.inputs[0], run.output);
    check_launch("softmax");
  }
  void backward(const ops::OpBackward& run) override {
    if (!run.input_gradients[0]) return;
    backward_<<<blocks(), threads, 0, context_.stream>>>(lanes_, width_, rows_, run.output,
                                                         run.output_gradient, run.input_gradients[0]);
    check_launch("softmax_gradient");
  }
  ops::BackwardNeeds backward_needs() const override { return {.inputs = false, .output = true}; }
  bool in_place() const override { return true; }

 private:
  unsigned blocks() const {
    return std::min(blocks_for(rows_, threads / lanes_),
                    8u * static_cast<unsigned>(context_.multiprocessors));
  }

  const Context& context_;
  int64_t width_, rows_;
  int lanes_;
  decltype(&softmax_kernel) forward_;
  decltype(&softmax_gradient_kernel) backward_;
};

}  // namespace

std::unique_ptr<ops::Op> make_softmax(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<SoftmaxOp>(context, spec);
}

}  // namespace lepton::cuda
