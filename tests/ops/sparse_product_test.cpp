// SPDX-License-Identifier: Apache-2.0
// SparseMatMul against a dense product in double, for matrices that are not square; refusals.
#include <random>

#include "ops/harness.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec product(SparseMatrix matrix, const Shape& input) {
  return {.type = "SparseMatMul",
          .attributes = {{"matrix", std::make_shared<const SparseMatrix>(std::move(matrix))}},
          .samples = 2,
          .training = true,
          .inputs = {input}};
}

SparseMatrix random_matrix(int64_t rows, int64_t columns) {
  std::mt19937 engine(3);
  SparseMatrix m{rows, columns, {0}, {}, {}};
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < r % 4; ++k) {
      m.indices.push_back(static_cast<int32_t>(engine() % static_cast<uint32_t>(columns)));
      m.values.push_back(static_cast<float>(engine() % 9) - 4);
    }
    m.starts.push_back(m.entries());
  }
  return m;
}

void check_sparse_product(const SparseMatrix& m, int64_t width) {
  check_op(product(m, {m.columns, width}), [&](const std::vector<Numbers>& inputs,
                                               const std::vector<Numbers>&) {
    Numbers y(static_cast<size_t>(2 * m.rows * width));
    for (int64_t s = 0; s < 2; ++s)
      for (int64_t r = 0; r < m.rows; ++r)
        for (auto k = m.starts[static_cast<size_t>(r)]; k < m.starts[static_cast<size_t>(r) + 1]; ++k)
          for (int64_t i = 0; i < width; ++i)
            y[static_cast<size_t>((s * m.rows + r) * width + i)] +=
                static_cast<double>(m.values[static_cast<size_t>(k)]) *
                inputs[0]
                      [static_cast<size_t>((s * m.columns + m.indices[static_cast<size_t>(k)]) * width + i)];
    return y;
  });
}

TEST(SparseMatMul, IsTheDenseProduct) {
  check_sparse_product(random_matrix(9, 7), 5);
  check_sparse_product(random_matrix(7, 9), 19);
  check_sparse_product(random_matrix(1, 1), 1);
  check_sparse_product(random_matrix(30, 30), 16);
}

TEST(SparseMatMul, Refusals) {
  expect_refused(product(random_matrix(9, 7), {9, 5}), "7 columns needs [nodes, features]");
  expect_refused(product(random_matrix(9, 7), {7}), "not [7]");
}

}  // namespace
}  // namespace lepton::ops
