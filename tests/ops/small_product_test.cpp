// SPDX-License-Identifier: Apache-2.0
// Small products to the bit against their loop: every kind of rest, strides, sums onto what is there,
// triangles.
#include "ops/small_product.h"

#include <algorithm>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

constexpr float untouched = 77;

/// Is inner index k of row m left by the mask?
bool counts(const SmallProduct& p, int64_t m, int64_t k) {
  if (p.triangle == Triangle::inner_up) return k <= p.first + m;
  if (p.triangle == Triangle::inner_down) return k >= m - p.first;
  return true;
}

void check_small_product(SmallProduct p, bool turned) {
  Floats a = random_floats(p.rows * p.inner, 1), b = random_floats(p.inner * (p.columns + 3), 2);
  p.a_row = turned ? 1 : p.inner;
  p.a_inner = turned ? p.rows : 1;
  p.b_inner = p.columns + 3;
  p.c_row = p.columns + 5;
  for (int64_t m = 0; m < p.rows; ++m)
    for (int64_t k = 0; k < p.inner; ++k)
      if (!counts(p, m, k)) a[static_cast<size_t>(m * p.a_row + k * p.a_inner)] = 0;
  Floats c(static_cast<size_t>(p.rows * p.c_row), untouched), want = c;
  for (int64_t m = 0; m < p.rows; ++m)
    for (int64_t n = 0; n < p.columns; ++n) {
      float sum = p.accumulate ? untouched : 0.0f;
      for (int64_t k = 0; k < p.inner; ++k)
        if (counts(p, m, k))
          sum +=
              a[static_cast<size_t>(m * p.a_row + k * p.a_inner)] * b[static_cast<size_t>(k * p.b_inner + n)];
      want[static_cast<size_t>(m * p.c_row + n)] = sum;
    }
  p.a = a.data();
  p.b = b.data();
  p.c = c.data();
  multiply(p);
  for (int64_t m = 0; m < p.rows; ++m)
    for (int64_t n = 0; n < p.c_row; ++n) {
      const auto at = static_cast<size_t>(m * p.c_row + n);
      if (p.triangle == Triangle::columns && n > p.first + m) continue;  // nobody reads it
      ASSERT_EQ(c[at], n < p.columns ? want[at] : untouched)
          << p.rows << " x " << p.inner << " x " << p.columns << " at " << m << ", " << n;
    }
}

TEST(SmallProduct, EveryRest) {
  for (const int64_t rows : {1, 3, 4, 9})
    for (const int64_t columns : {1, 15, 16, 17, 32, 53})
      for (const int64_t inner : {1, 7, 32})
        for (const bool accumulate : {false, true})
          for (const bool turned : {false, true})
            check_small_product({.rows = rows, .columns = columns, .inner = inner, .accumulate = accumulate},
                                turned);
}

TEST(SmallProduct, Triangles) {
  for (const int64_t first : {0, 5, 32}) {
    const int64_t queries = 11, keys = first + queries;
    for (const bool accumulate : {false, true}) {
      check_small_product(
          {.rows = queries, .columns = keys, .inner = 6, .triangle = Triangle::columns, .first = first},
          false);
      check_small_product({.rows = queries,
                           .columns = 20,
                           .inner = keys,
                           .accumulate = accumulate,
                           .triangle = Triangle::inner_up,
                           .first = first},
                          false);
      check_small_product({.rows = keys,
                           .columns = 20,
                           .inner = queries,
                           .accumulate = accumulate,
                           .triangle = Triangle::inner_down,
                           .first = first},
                          true);
    }
  }
}

}  // namespace
}  // namespace lepton::ops
