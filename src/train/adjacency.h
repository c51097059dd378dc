// SPDX-License-Identifier: Apache-2.0
// Sparse matrices in HDF5: a group with the arrays indptr [rows + 1], indices and values (without it all are
// 1), as scipy and others write CSR. Called by setup, for the graph of graph_conv layers, and by
// prepare_graph.
#pragma once

#include <memory>
#include <string>

#include "comm/world.h"
#include "ops/sparse_matrix.h"

namespace lepton::train {

/// **Local.** `columns`: 0: as many as the largest index + 1. Throws Error(no_input, data) with file and
/// array.
ops::SparseMatrix read_sparse_matrix(const std::string& file, const std::string& path, int64_t columns);

/// **Collective.** The square matrix of a graph, read by rank 0.
std::shared_ptr<const ops::SparseMatrix> read_adjacency(const comm::World& world, const std::string& file,
                                                        const std::string& path);

/// Numbers of an array of any stored type, in its order. Throws Error(no_input, data).
std::vector<double> read_numbers(const std::string& file, const std::string& path);

}  // namespace lepton::train
