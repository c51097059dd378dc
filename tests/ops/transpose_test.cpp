// SPDX-License-Identifier: Apache-2.0
// Every element at its place: whole tiles and rests, rows that lie apart.
#include "ops/transpose.h"

#include "ops/harness.h"

namespace lepton::ops {
namespace {

TEST(Transpose, EveryRest) {
  for (const int64_t rows : {1, 5, 16, 35})
    for (const int64_t columns : {1, 5, 16, 35})
      for (const int64_t apart : {0, 3}) {
        const int64_t row = columns + apart;
        const testing::Floats from = testing::random_floats(rows * row, 3);
        testing::Floats to(static_cast<size_t>(rows * columns), NAN);
        transpose(rows, columns, from.data(), row, to.data());
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < columns; ++c)
            ASSERT_EQ(to[static_cast<size_t>(c * rows + r)], from[static_cast<size_t>(r * row + c)]);
      }
}

}  // namespace
}  // namespace lepton::ops
