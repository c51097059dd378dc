// SPDX-License-Identifier: Apache-2.0
// Sparse matrices from HDF5 groups: the same on every rank, with and without values, and faults.
#include "train/adjacency.h"

#include <gtest/gtest.h>

#include "errors.h"
#include "graph_files.h"
#include "small_runs.h"

namespace lepton::train {
namespace {

class AdjacencyTest : public ::testing::Test {
 protected:
  void write(const GraphArrays& arrays) const {
    if (runs_.world().rank() == 0) write_arrays(file(), arrays);
    runs_.world().barrier();
  }
  std::string file() const { return runs_.file("graph.h5"); }
  const SmallRuns runs_;
};

TEST_F(AdjacencyTest, IsTheSameOnEveryRank) {
  write(small_graph());
  const auto matrix = read_adjacency(runs_.world(), file(), "adjacency");
  EXPECT_EQ(matrix->rows, 4);
  EXPECT_EQ(matrix->columns, 4);
  EXPECT_EQ(matrix->indices, (std::vector<int32_t>{1, 3, 0, 2, 1, 3, 0, 2}));
  EXPECT_EQ(matrix->values, std::vector<float>(8, 1.0F));
}

TEST_F(AdjacencyTest, OfOtherShapesWithValues) {
  write(small_graph());
  const ops::SparseMatrix features = read_sparse_matrix(file(), "features", 0);
  EXPECT_EQ(features.rows, 4);
  EXPECT_EQ(features.columns, 3);
  EXPECT_EQ(features.values, (std::vector<float>{1, 3, 5, 2}));
  EXPECT_EQ(read_numbers(file(), "labels"), (std::vector<double>{0, 1, 1, 2}));
}

TEST_F(AdjacencyTest, Faults) {
  const auto refused = [&](const std::string& path, std::vector<double> values, const std::string& text) {
    GraphArrays arrays = small_graph();
    arrays[path] = std::move(values);
    write(arrays);
    expect_error_of([&] { read_adjacency(runs_.world(), file(), "adjacency"); }, Exit::data, {text});
    runs_.world().barrier();
  };
  refused("adjacency/indptr", {0, 2, 4, 6, 7}, "from 0 to the number of entries, 8");
  refused("adjacency/indices", {1, 3, 0, 2, 1, 3, 0, 4}, "indices, element 7");
  refused("adjacency/indices", {1, 3, 0, 2, 1, 3, 0, 0.5}, "not a whole number");
  expect_error_of([&] { read_adjacency(runs_.world(), file(), "graph"); }, Exit::data, {"graph/indptr"});
}

}  // namespace
}  // namespace lepton::train
