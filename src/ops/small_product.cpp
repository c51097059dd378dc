// SPDX-License-Identifier: Apache-2.0
// See the header. Blocks of four rows and two vectors of columns stay in registers over all inner indices.
#include "ops/small_product.h"

#include <algorithm>

#include "base/simd.h"

namespace lepton::ops {

namespace {

constexpr int64_t lanes = 16, block_rows = 4;
using Lanes [[gnu::vector_size(64), gnu::aligned(4)]] = float;

template <int rows, int vectors>
[[gnu::always_inline]] inline void block(const SmallProduct& p, int64_t m, int64_t n, int64_t k_begin,
                                         int64_t k_end) {
  Lanes sum[rows][vectors];
  const float* a = p.a + m * p.a_row;
  const float* b = p.b + n;
  float* c = p.c + m * p.c_row + n;
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v)
      sum[r][v] = p.accumulate ? *reinterpret_cast<const Lanes*>(c + r * p.c_row + v * lanes) : Lanes{};
  for (int64_t k = k_begin; k < k_end; ++k) {
    Lanes right[vectors];
    for (int v = 0; v < vectors; ++v)
      right[v] = *reinterpret_cast<const Lanes*>(b + k * p.b_inner + v * lanes);
    for (int r = 0; r < rows; ++r) {
      const float left = a[r * p.a_row + k * p.a_inner];
      for (int v = 0; v < vectors; ++v) sum[r][v] += left * right[v];
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) *reinterpret_cast<Lanes*>(c + r * p.c_row + v * lanes) = sum[r][v];
}

/// What is left of columns, one by one.
template <int rows>
[[gnu::always_inline]] inline void rest(const SmallProduct& p, int64_t m, int64_t n, int64_t n_end,
                                        int64_t k_begin, int64_t k_end) {
  for (int64_t r = m; r < m + rows; ++r)
    for (int64_t column = n; column < n_end; ++column) {
      float sum = p.accumulate ? p.c[r * p.c_row + column] : 0.0f;
      for (int64_t k = k_begin; k < k_end; ++k)
        sum += p.a[r * p.a_row + k * p.a_inner] * p.b[k * p.b_inner + column];
      p.c[r * p.c_row + column] = sum;
    }
}

template <int rows>
[[gnu::always_inline]] inline void row_block(const SmallProduct& p, int64_t m) {
  const int64_t edge = p.first + m + rows;  // what the last of the rows sees ends before it
  const int64_t wanted = p.triangle == Triangle::columns ? std::min(p.columns, edge) : p.columns;
  // Whole vectors, where they fit.
  const int64_t n_end = std::min(p.columns, (wanted + lanes - 1) / lanes * lanes);
  const int64_t k_end = p.triangle == Triangle::inner_up ? std::min(p.inner, edge) : p.inner;
  const int64_t k_begin = p.triangle == Triangle::inner_down ? std::max<int64_t>(0, m - p.first) : 0;
  int64_t n = 0;
  for (; n + 2 * lanes <= n_end; n += 2 * lanes) block<rows, 2>(p, m, n, k_begin, k_end);
  for (; n + lanes <= n_end; n += lanes) block<rows, 1>(p, m, n, k_begin, k_end);
  if (n < n_end) rest<rows>(p, m, n, n_end, k_begin, k_end);
}

}  // namespace

LEPTON_SIMD void multiply(const SmallProduct& product) {
  int64_t m = 0;
  for (; m + block_rows <= product.rows; m += block_rows) row_block<block_rows>(product, m);
  for (; m < product.rows; ++m) row_block<1>(product, m);
}

}  // namespace lepton::ops
