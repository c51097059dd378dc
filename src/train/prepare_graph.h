// SPDX-License-Identifier: Apache-2.0
// A graph whose nodes are to be classified, as one sample: see the file. Called by prepare.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace lepton::train {

constexpr int64_t no_class = -1;  ///< of nodes that a split does not have: data.ignored_class

/// **Local.** Reads FILE: adjacency and features (a dense array [N, F], or CSR), labels [N], and
/// split/train, split/validation and split/test, lists of nodes or masks [N]. Writes OUT: features
/// [1, N, F], NAME/labels [1, N] of each split, and the adjacency. With `shares` a node's features are
/// divided by their sum. What it made, for the report. Throws Error(no_input, data, io).
nlohmann::ordered_json prepare_graph(const std::string& file, bool shares, const std::string& output);

}  // namespace lepton::train
