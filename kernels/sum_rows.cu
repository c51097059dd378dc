// SPDX-License-Identifier: Apache-2.0
// Sums of the columns of a matrix, for bias gradients. A block sums a chunk of rows of some columns: each
// thread every so many rows of one column, then the threads of a column pairwise in shared memory. Several
// chunks leave a matrix of partial sums, whose columns a second launch sums in the same way. The number of
// chunks depends on the shape alone, hence so do the bits; no float is added up over more than about 500 rows
// in one thread (pairs of sums lose less: Higham 1993). Callers: the ops with a bias.
#include <algorithm>

#include "kernels/operators.h"

namespace lepton::cuda {

namespace {

constexpr int64_t rows_least = 16, rows_most = 512;  // per thread
constexpr int64_t blocks_wanted = 1024;  // fills the devices we know; more would be more partial sums

/// How one launch divides the work. `width` neighbouring threads read one row: a power of two.
struct Division {
  int64_t width, column_tiles, chunks, chunk_rows;
};

int64_t divided_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

Division divide(int64_t rows, int64_t columns, int64_t width_most) {
  int64_t width = 1;
  while (width < width_most && width < columns) width *= 2;
  const int64_t height = threads / width, tiles = divided_up(columns, width);
  const int64_t useful = divided_up(rows, height * rows_least), enough = divided_up(blocks_wanted, tiles);
  const int64_t needed = divided_up(rows, height * rows_most);
  const int64_t chunk_rows = divided_up(rows, std::max(std::min(useful, enough), needed));
  return {width, tiles, divided_up(rows, chunk_rows), chunk_rows};
}

Division first_stage(int64_t rows, int64_t columns) {
  return divide(rows, columns, 32);
}

/// One chunk, of few rows that are in cache: narrow tiles make more threads per column.
Division second_stage(int64_t rows, int64_t columns) {
  Division division = divide(rows, columns, 8);
  division.chunks = 1;
  division.chunk_rows = rows;
  return division;
}

// sums[chunk, c] = sum over the chunk's rows of z[r, c]
__global__ void sum_chunks(Division division, int64_t rows, int64_t columns, const float* z, float* sums) {
  __shared__ float values[threads];
  const int width = static_cast<int>(division.width), height = threads / width;
  const unsigned tiles = static_cast<unsigned>(division.column_tiles);
  const int64_t chunk = blockIdx.x / tiles, c = int64_t{blockIdx.x % tiles} * width + threadIdx.x % width;
  const int64_t end = min(rows, (chunk + 1) * division.chunk_rows);
  float sum = 0;
  if (c < columns) {
    const float* next = z + (chunk * division.chunk_rows + threadIdx.x / width) * columns + c;
#pragma unroll 8
    for (int64_t r = chunk * division.chunk_rows + threadIdx.x / width; r < end; r += height) {
      sum += *next;
      next += height * columns;
    }
  }
  values[threadIdx.x] = sum;
  for (int half = threads / 2; half >= width; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) values[threadIdx.x] += values[threadIdx.x + half];
  }
  if (threadIdx.x < width && c < columns) sums[chunk * columns + c] = values[threadIdx.x];
}

void launch(const Context& context, const Division& division, int64_t rows, int64_t columns, const float* z,
            float* sums) {
  const unsigned blocks = static_cast<unsigned>(division.column_tiles * division.chunks);
  sum_chunks<<<blocks, threads, 0, context.stream>>>(division, rows, columns, z, sums);
  check_launch("sum_rows");
}

}  // namespace

size_t sum_rows_scratch_bytes(int64_t rows, int64_t columns) {
  const int64_t chunks = first_stage(rows, columns).chunks;
  return chunks == 1 ? 0 : static_cast<size_t>(chunks * columns) * sizeof(float);
}

void sum_rows(const Context& context, int64_t rows, int64_t columns, const float* z, std::byte* scratch,
              float* sum) {
  const Division first = first_stage(rows, columns);
  if (first.chunks == 1) return launch(context, first, rows, columns, z, sum);
  float* partial = reinterpret_cast<float*>(scratch);
  launch(context, first, rows, columns, z, partial);
  launch(context, second_stage(first.chunks, columns), first.chunks, columns, partial, sum);
}

}  // namespace lepton::cuda
