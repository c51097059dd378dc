// SPDX-License-Identifier: Apache-2.0
// Flatten, Reshape and Identity: the same numbers under another shape or in another layout. ONNX orders an
// image as C, H, W; where it lies as H, W, C it is permuted through ONNX's order: a transpose per sample
// where one side is plain (in tiles through shared memory, or by strides where one dimension is
// short), a gather where both are, without the scratch of the host. Twin: src/ops/reshape.cpp.
#include <algorithm>

#include "kernels/operators.h"

namespace lepton::cuda {

namespace {

constexpr int tile = 32, tile_rows = threads / tile;
constexpr int64_t short_most = 8;           // up to here tiles would be mostly empty
constexpr int64_t samples_at_once = 65535;  // the device's limit of a grid along y and z

/// What the memory of a sample is: a matrix of pixels x channels where channels are last, else one row.
struct MemoryOrder {
  int64_t channels = 1, pixels = 1;
  MemoryOrder(const Shape& shape, Layout layout) {
    if (layout == Layout::plain) return;
    channels = shape[0];
    pixels = element_count(shape) / channels;
  }
  bool is_plain() const { return channels == 1 || pixels == 1; }
};

// Per sample, rows x columns to columns x rows. Block: tile x tile_rows threads; tiles of columns along x, of
// rows along y, samples along z. The column of padding keeps reads down a column off one memory bank.
__global__ void transpose_tiles(int64_t samples, int64_t rows, int64_t columns, const float* from,
                                float* to) {
  __shared__ float values[tile][tile + 1];
  const int64_t c0 = int64_t{blockIdx.x} * tile;
  for (int64_t s = blockIdx.z; s < samples; s += gridDim.z)
    for (int64_t r0 = int64_t{blockIdx.y} * tile; r0 < rows; r0 += int64_t{gridDim.y} * tile) {
      const float* in = from + s * rows * columns;
      float* out = to + s * rows * columns;
      for (int k = threadIdx.y; k < tile; k += tile_rows)
        if (r0 + k < rows && c0 + threadIdx.x < columns)
          values[k][threadIdx.x] = in[(r0 + k) * columns + c0 + threadIdx.x];
      __syncthreads();
      for (int k = threadIdx.y; k < tile; k += tile_rows)
        if (c0 + k < columns && r0 + threadIdx.x < rows)
          out[(c0 + k) * rows + r0 + threadIdx.x] = values[threadIdx.x][k];
      __syncthreads();
    }
}

/// Steps of one dimension in two layouts.
struct Steps {
  int64_t count, from, to;
};

// Per sample, a transpose with one dimension of few elements: a thread moves them all, neighbours along the
// other.
__global__ void transpose_strides(int64_t samples, Steps along, Steps few, const float* from, float* to) {
  const int64_t elements = along.count * few.count;
  for (int64_t s = blockIdx.y; s < samples; s += gridDim.y)
    for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < along.count;
         i += int64_t{gridDim.x} * blockDim.x)
      for (int64_t k = 0; k < few.count; ++k)
        to[s * elements + i * along.to + k * few.to] = from[s * elements + i * along.from + k * few.from];
}

// Per sample, image to image: each element of the target, by way of its index in ONNX order.
__global__ void gather(int64_t samples, MemoryOrder source, MemoryOrder target, const float* from,
                       float* to) {
  const int64_t elements = target.pixels * target.channels;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < elements;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t pixel = i / target.channels, channel = i % target.channels;
    const int64_t onnx = channel * target.pixels + pixel;
    const int64_t place = onnx % source.pixels * source.channels + onnx / source.pixels;
    for (int64_t s = blockIdx.y; s < samples; s += gridDim.y)
      to[s * elements + i] = from[s * elements + place];
  }
}

unsigned up_to_limit(int64_t count) {
  return static_cast<unsigned>(std::min(count, samples_at_once));
}

void transpose(const Context& context, int64_t samples, int64_t rows, int64_t columns, const float* from,
               float* to) {
  if (std::min(rows, columns) > short_most) {
    const dim3 grid(blocks_for(columns, tile), up_to_limit((rows + tile - 1) / tile), up_to_limit(samples));
    transpose_tiles<<<grid, dim3(tile, tile_rows), 0, context.stream>>>(samples, rows, columns, from, to);
  } else {
    const Steps down{rows, columns, 1}, across{columns, 1, rows};
    const Steps along = rows > columns ? down : across, few = rows > columns ? across : down;
    const dim3 grid(blocks_for(along.count, threads), up_to_limit(samples));
    transpose_strides<<<grid, threads, 0, context.stream>>>(samples, along, few, from, to);
  }
  check_launch("transpose");
}

class ReshapeOp : public ops::Op {
 public:
  ReshapeOp(const Context& context, const ops::OpSpec& spec)
      : context_(context),
        n_(spec.samples),
        count_(element_count(spec.output)),
        from_(spec.inputs[0], spec.layouts[0]),
        to_(spec.output, spec.output_layout) {
    same_ = (from_.is_plain() && to_.is_plain()) ||
            (from_.channels == to_.channels && from_.pixels == to_.pixels);
  }

  void forward(const ops::OpForward& run) override { permute(from_, to_, run.inputs[0], run.output); }
  void backward(const ops::OpBackward& run) override {
    if (run.input_gradients[0]) permute(to_, from_, run.output_gradient, run.input_gradients[0]);
  }
  ops::BackwardNeeds backward_needs() const override { return {}; }
  bool in_place() const override { return same_; }

 private:
  void permute(const MemoryOrder& source, const MemoryOrder& target, const float* x, float* y) const {
    if (same_) {
      const size_t bytes = static_cast<size_t>(n_ * count_) * sizeof(float);
      if (x != y)
        check(cudaMemcpyAsync(y, x, bytes, cudaMemcpyDeviceToDevice, context_.stream), "cudaMemcpyAsync");
    } else if (source.is_plain()) {
      transpose(context_, n_, target.channels, target.pixels, x, y);
    } else if (target.is_plain()) {
      transpose(context_, n_, source.pixels, source.channels, x, y);
    } else {
      const dim3 grid(blocks_for(count_, threads), up_to_limit(n_));
      gather<<<grid, threads, 0, context_.stream>>>(n_, source, target, x, y);
      check_launch("gather");
    }
  }

  const Context& context_;
  int64_t n_, count_;
  MemoryOrder from_, to_;
  bool same_ = false;
};

}  // namespace

std::unique_ptr<ops::Op> make_reshape(const Context& context, const ops::OpSpec& spec) {
  return std::make_unique<ReshapeOp>(context, spec);
}

}  // namespace lepton::cuda
