// SPDX-License-Identifier: Apache-2.0
// A graph as one sample: what the file holds, and refusals.
#include "train/prepare_graph.h"

#include <gtest/gtest.h>

#include "errors.h"
#include "graph_files.h"
#include "scratch.h"
#include "train/adjacency.h"

namespace lepton::train {
namespace {

class PrepareGraph : public ::testing::Test {
 protected:
  nlohmann::ordered_json make(const GraphArrays& arrays, bool shares = false) const {
    write_arrays(in(), arrays);
    return prepare_graph(in(), shares, out());
  }
  void refused(const std::string& path, std::vector<double> values, const std::string& text) const {
    GraphArrays arrays = small_graph();
    arrays[path] = std::move(values);
    expect_error_of([&] { make(arrays); }, Exit::data, {text});
  }
  std::string in() const { return scratch_.file("in.h5"); }
  std::string out() const { return scratch_.file("out.h5"); }
  const Scratch scratch_;
};

TEST_F(PrepareGraph, IsOneSample) {
  const auto report = make(small_graph());
  EXPECT_EQ(report["nodes"], 4);
  EXPECT_EQ(report["train"], 2);
  EXPECT_EQ(report["test"], 2);
  EXPECT_FALSE(report.contains("validation"));
  EXPECT_EQ(storage::Hdf5Array(out(), "features").info().shape, (Shape{1, 4, 3}));
  EXPECT_EQ(read_numbers(out(), "features"), (std::vector<double>{1, 0, 3, 0, 0, 0, 0, 5, 0, 0, 0, 2}));
  EXPECT_EQ(storage::Hdf5Array(out(), "train/labels").info().shape, (Shape{1, 4}));
  EXPECT_EQ(read_numbers(out(), "train/labels"), (std::vector<double>{0, -1, 1, -1}));  // a list
  EXPECT_EQ(read_numbers(out(), "test/labels"), (std::vector<double>{-1, 1, -1, 2}));   // a mask
  EXPECT_EQ(read_sparse_matrix(out(), "adjacency", 4).entries(), 8);
}

TEST_F(PrepareGraph, SharesOfFeatures) {
  make(small_graph(), true);
  EXPECT_EQ(read_numbers(out(), "features"), (std::vector<double>{0.25, 0, 0.75, 0, 0, 0, 0, 1, 0, 0, 0, 1}));
}

TEST_F(PrepareGraph, Refusals) {
  refused("labels", {0, 1, 1}, "3 labels for 4 nodes");
  refused("labels", {0, 1, 1, 0.5}, "labels, element 3");
  refused("split/train", {4}, "from 0 to 3");
  refused("features/indptr", {0, 2, 2, 4}, "adjacency");
  GraphArrays arrays = small_graph();
  arrays.erase("split/train");
  expect_error_of([&] { make(arrays); }, Exit::data, {"no split/train"});
}

}  // namespace
}  // namespace lepton::train
