// SPDX-License-Identifier: Apache-2.0
// Sparse matrices: faults, transposes, and the normalisations of graph convolutions.
#include "ops/sparse_matrix.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lepton::ops {
namespace {

// 0 2 0
// 1 0 3
// 0 0 4
SparseMatrix small() {
  return {3, 3, {0, 1, 3, 4}, {1, 2, 0, 2}, {2, 3, 1, 4}};
}

std::vector<float> dense(const SparseMatrix& m) {
  std::vector<float> all(static_cast<size_t>(m.rows * m.columns));
  for (int64_t r = 0; r < m.rows; ++r)
    for (auto k = m.starts[static_cast<size_t>(r)]; k < m.starts[static_cast<size_t>(r) + 1]; ++k)
      all[static_cast<size_t>(r * m.columns + m.indices[static_cast<size_t>(k)])] +=
          m.values[static_cast<size_t>(k)];
  return all;
}

TEST(SparseMatrix, Transposed) {
  EXPECT_EQ(dense(transposed(small())), (std::vector<float>{0, 1, 0, 2, 0, 0, 0, 3, 4}));
  EXPECT_EQ(dense(transposed(SparseMatrix{2, 3, {0, 1, 2}, {2, 0}, {5, 6}})),
            (std::vector<float>{0, 6, 0, 0, 5, 0}));
}

TEST(SparseMatrix, Normalised) {
  EXPECT_EQ(dense(normalised(small(), Normalisation::none, true)),
            (std::vector<float>{1, 2, 0, 1, 1, 3, 0, 0, 5}));
  EXPECT_EQ(dense(normalised(small(), Normalisation::rows, false)),
            (std::vector<float>{0, 1, 0, 0.25F, 0, 0.75F, 0, 0, 1}));
  const auto symmetric = dense(normalised(small(), Normalisation::symmetric, true));  // degrees 3, 5, 5
  EXPECT_FLOAT_EQ(symmetric[1], static_cast<float>(2 / std::sqrt(15)));
  EXPECT_FLOAT_EQ(symmetric[5], 3.0F / 5);
  EXPECT_FLOAT_EQ(symmetric[0], 1.0F / 3);
}

TEST(SparseMatrix, ANodeWithoutNeighboursGathersNothing) {
  const auto values = dense(normalised({2, 2, {0, 0, 1}, {1}, {7}}, Normalisation::symmetric, false));
  EXPECT_EQ(values, (std::vector<float>{0, 0, 0, 1}));
}

TEST(SparseMatrix, Faults) {
  EXPECT_EQ(fault_of(small()), "");
  const auto faulty = [](auto change) {
    SparseMatrix m = small();
    change(m);
    return fault_of(m);
  };
  EXPECT_NE(faulty([](SparseMatrix& m) { m.starts.pop_back(); }).find("one more"), std::string::npos);
  EXPECT_NE(faulty([](SparseMatrix& m) { m.starts[3] = 5; }).find("to the number of entries, 4"),
            std::string::npos);
  EXPECT_NE(faulty([](SparseMatrix& m) { m.starts[1] = 4; }).find("descend at row 1"), std::string::npos);
  EXPECT_NE(faulty([](SparseMatrix& m) { m.indices[2] = 3; }).find("3 is not from 0 to 2"),
            std::string::npos);
  EXPECT_NE(faulty([](SparseMatrix& m) { m.indices.pop_back(); }).find("as many column indices"),
            std::string::npos);
}

}  // namespace
}  // namespace lepton::ops
