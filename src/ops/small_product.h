// SPDX-License-Identifier: Apache-2.0
// Products of small matrices that lie as they lie, and of which a causal mask leaves out a triangle. For them
// a call of a library costs as much as the product (heads of 32, 64 tokens: 4.8 us instead of 2 by
// oneDNN 2.6). Multiplies and adds apart, over the inner index in order: the same bits on every machine.
// Called by attention.
#pragma once

#include <cstdint>

namespace lepton::ops {

/// What a mask leaves of a product whose rows or inner indices are queries first, first + 1, ... and whose
/// others are keys from 0 on; a query sees keys up to its own number. Rows are taken by fours, so up to three
/// elements behind the edge are computed, too: of inner indices they must be 0.
enum class Triangle {
  none,
  columns,     ///< of row m the columns up to first + m; others are not written
  inner_up,    ///< of row m the inner indices up to first + m
  inner_down,  ///< of row m the inner indices from m - first on
};

/// c[m, n] = (or += with `accumulate`) sum over k of a[m, k] b[k, n]. Columns of b and c lie side by side.
struct SmallProduct {
  int64_t rows = 0, columns = 0, inner = 0;
  const float* a = nullptr;
  int64_t a_row = 0, a_inner = 0;  ///< elements from one row, one inner index, to the next
  const float* b = nullptr;
  int64_t b_inner = 0;
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
  Triangle triangle = Triangle::none;
  int64_t first = 0;
};
void multiply(const SmallProduct& product);

}  // namespace lepton::ops
