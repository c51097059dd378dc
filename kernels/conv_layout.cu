// SPDX-License-Identifier: Apache-2.0
// Kernels around a convolution (see conv_layout.h). All are bound by memory, so each reads and writes whole
// lines of it: weights turn through shared memory, images are handled line by line, which also spares the
// division of every index by the number of channels. Templates are over the stored type alone, which is
// converted on the way.
#include "kernels/conv_layout.h"

#include <algorithm>

#include "ops/activation_math.h"

namespace lepton::cuda {

namespace {

constexpr int tile_elements = 2048;

/// How the weights of one filter are divided into tiles of channels x positions, one per block.
struct Tiling {
  int channels = 0, positions = 0;
  int tile_channels = 0, tile_positions = 0, channel_tiles = 0, position_tiles = 0;
};

Tiling tiling(const Filters& filters) {
  Tiling t{.channels = static_cast<int>(filters.channels), .positions = static_cast<int>(filters.positions)};
  t.tile_positions = std::min(t.positions, tile_elements);
  t.tile_channels = std::min(t.channels, tile_elements / t.tile_positions);
  if (t.tile_channels < t.channels && t.tile_channels > 32) t.tile_channels = t.tile_channels / 32 * 32;
  t.channel_tiles = (t.channels + t.tile_channels - 1) / t.tile_channels;
  t.position_tiles = (t.positions + t.tile_positions - 1) / t.tile_positions;
  return t;
}

/// A block's tile, cut at the edges.
struct Tile {
  int64_t filter;  ///< where the filter begins
  int channel, position, channels, positions;

  __device__ explicit Tile(const Tiling& t) {
    const int tiles = t.channel_tiles * t.position_tiles, index = static_cast<int>(blockIdx.x % tiles);
    filter = int64_t{blockIdx.x / tiles} * t.channels * t.positions;
    channel = index / t.position_tiles * t.tile_channels;
    position = index % t.position_tiles * t.tile_positions;
    channels = min(t.tile_channels, t.channels - channel);
    positions = min(t.tile_positions, t.positions - position);
  }
};

template <class To>
__global__ void __launch_bounds__(threads)
    pack_weights(Tiling t, const float* __restrict__ x, To* __restrict__ y) {
  __shared__ float values[tile_elements];
  const Tile tile(t);
  const int count = tile.channels * tile.positions;
  for (int i = threadIdx.x; i < count; i += threads) {
    const int c = tile.channel + i / tile.positions, p = tile.position + i % tile.positions;
    values[i] = x[tile.filter + int64_t{c} * t.positions + p];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += threads) {
    const int p = i / tile.channels, c = i % tile.channels;
    y[tile.filter + int64_t{tile.position + p} * t.channels + tile.channel + c] =
        static_cast<To>(values[c * tile.positions + p]);
  }
}

template <class From>
__global__ void __launch_bounds__(threads)
    unpack_weights(Tiling t, const From* __restrict__ x, float* __restrict__ y) {
  __shared__ float values[tile_elements];
  const Tile tile(t);
  const int count = tile.channels * tile.positions;
  for (int i = threadIdx.x; i < count; i += threads) {
    const int p = i / tile.channels, c = i % tile.channels;
    values[c * tile.positions + p] =
        static_cast<float>(x[tile.filter + int64_t{tile.position + p} * t.channels + tile.channel + c]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += threads) {
    const int c = tile.channel + i / tile.positions, p = tile.position + i % tile.positions;
    y[tile.filter + int64_t{c} * t.positions + p] = values[i];
  }
}

/// One line of `to` per block: element (line, i) of `to` is (line - down, i - right) of `from`, else 0.
template <class From, class To>
__global__ void __launch_bounds__(threads) move_images(Images from, Images to, int64_t down, int64_t right,
                                                       const From* __restrict__ x, To* __restrict__ y) {
  const unsigned lines = static_cast<unsigned>(to.lines);
  const int64_t sample = blockIdx.x / lines, line = int64_t{blockIdx.x % lines} - down;
  const bool inside = line >= 0 && line < from.lines;
  const int64_t source = (sample * from.lines + line) * from.length;
  To* target = y + blockIdx.x * to.length;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < to.length; i += blockDim.x) {
    const int64_t j = i - right;
    const bool there = inside && j >= 0 && j < from.length;
    target[i] = static_cast<To>(there ? static_cast<float>(x[source + j]) : 0.0f);
  }
}

template <class From, class To>
void move(const Context& context, const Images& from, const Images& to, int64_t down, int64_t right,
          const From* x, To* y) {
  // Short lines take few threads, so that more of their blocks fit a multiprocessor.
  const int wanted = static_cast<int>(std::min<int64_t>((to.length + 31) / 32 * 32, threads));
  move_images<<<blocks_for(to.samples * to.lines, 1), wanted, 0, context.stream>>>(from, to, down, right, x,
                                                                                   y);
  check_launch("move_images");
}

/// `rows_per_block` whole rows per block: a thread's channel then advances by the same step at each turn.
/// y may be x, so no load may pass a store: what is in flight together is loaded together.
template <class From>
__global__ void __launch_bounds__(threads)
    finish_rows(ops::Activation activation, int64_t rows, int channels, int rows_per_block, const From* x,
                const float* bias, float* y) {
  constexpr int batch = 4;
  const int64_t row = int64_t{blockIdx.x} * rows_per_block;
  const int count = static_cast<int>(min(int64_t{rows_per_block}, rows - row)) * channels;
  const int step = threads % channels;
  int channel = static_cast<int>(threadIdx.x) % channels;
  x += row * channels;
  y += row * channels;
  for (int first = threadIdx.x; first < count; first += batch * threads) {
    float values[batch];
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      const int i = first + k * threads;
      values[k] = i < count ? static_cast<float>(x[i]) : 0.0f;
      if (bias) values[k] += bias[channel];
      channel += step;
      if (channel >= channels) channel -= channels;
    }
#pragma unroll
    for (int k = 0; k < batch; ++k)
      if (const int i = first + k * threads; i < count) y[i] = ops::activation_element(activation, values[k]);
  }
}

}  // namespace

void pack(const Context& context, const Filters& filters, bool narrowed, const float* x, void* y) {
  if (filters.same_layout() && narrowed)
    return narrow(context, filters.count(), x, static_cast<Bfloat16*>(y));
  const Tiling t = tiling(filters);
  const unsigned blocks = blocks_for(filters.filters * t.channel_tiles * t.position_tiles, 1);
  if (narrowed)
    pack_weights<<<blocks, threads, 0, context.stream>>>(t, x, static_cast<Bfloat16*>(y));
  else
    pack_weights<<<blocks, threads, 0, context.stream>>>(t, x, static_cast<float*>(y));
  check_launch("pack_weights");
}

void unpack(const Context& context, const Filters& filters, bool narrowed, const void* x, float* y) {
  if (filters.same_layout() && narrowed)
    return widen(context, filters.count(), static_cast<const Bfloat16*>(x), y);
  const Tiling t = tiling(filters);
  const unsigned blocks = blocks_for(filters.filters * t.channel_tiles * t.position_tiles, 1);
  if (narrowed)
    unpack_weights<<<blocks, threads, 0, context.stream>>>(t, static_cast<const Bfloat16*>(x), y);
  else
    unpack_weights<<<blocks, threads, 0, context.stream>>>(t, static_cast<const float*>(x), y);
  check_launch("unpack_weights");
}

void pad(const Context& context, const Images& from, const Images& to, int64_t down, int64_t right,
         bool narrowed, const float* x, void* y) {
  if (narrowed)
    move(context, from, to, down, right, x, static_cast<Bfloat16*>(y));
  else
    move(context, from, to, down, right, x, static_cast<float*>(y));
}

void cut(const Context& context, const Images& from, const Images& to, int64_t down, int64_t right,
         bool narrowed, const void* x, float* y) {
  if (narrowed)
    move(context, from, to, -down, -right, static_cast<const Bfloat16*>(x), y);
  else
    move(context, from, to, -down, -right, static_cast<const float*>(x), y);
}

void add_bias_and_activate(const Context& context, const ops::Activation& activation, int64_t rows,
                           int64_t channels, bool narrowed, const void* x, const float* bias, float* y) {
  constexpr int64_t block_elements = 8 * threads;
  const int64_t rows_per_block = std::max<int64_t>(1, block_elements / channels);
  const unsigned blocks = blocks_for(rows, static_cast<int>(rows_per_block));
  const int width = static_cast<int>(channels), height = static_cast<int>(rows_per_block);
  if (narrowed)
    finish_rows<<<blocks, threads, 0, context.stream>>>(activation, rows, width, height,
                                                        static_cast<const Bfloat16*>(x), bias, y);
  else
    finish_rows<<<blocks, threads, 0, context.stream>>>(activation, rows, width, height,
                                                        static_cast<const float*>(x), bias, y);
  check_launch("finish_rows");
}

}  // namespace lepton::cuda
