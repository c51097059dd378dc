// SPDX-License-Identifier: Apache-2.0
// A small graph as an HDF5 file of CSR groups, for the tests of adjacency and prepare_graph.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "storage/file.h"
#include "storage/hdf5.h"

namespace lepton::train {

/// Arrays of float64 by path; all of rank 1 but "features".
using GraphArrays = std::map<std::string, std::vector<double>>;

/// Four nodes in a ring, three features each, as CSR.
inline GraphArrays small_graph() {
  return {{"adjacency/indptr", {0, 2, 4, 6, 8}},
          {"adjacency/indices", {1, 3, 0, 2, 1, 3, 0, 2}},
          {"features/indptr", {0, 2, 2, 3, 4}},
          {"features/indices", {0, 2, 1, 2}},
          {"features/values", {1, 3, 5, 2}},
          {"labels", {0, 1, 1, 2}},
          {"split/train", {2, 0}},
          {"split/test", {0, 1, 0, 1}}};
}

inline void write_arrays(const std::string& file, const GraphArrays& arrays) {
  storage::Hdf5Image image;
  for (const auto& [path, values] : arrays)
    image.add(path, {storage::StoredType::Kind::floating, 8, false}, {static_cast<int64_t>(values.size())},
              std::as_bytes(std::span(values)));
  storage::write_file_durably(file, image.pieces().joined(), "");
}

}  // namespace lepton::train
