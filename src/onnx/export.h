// SPDX-License-Identifier: Apache-2.0
// ONNX export: a trained network as an ONNX model, for any batch size. Nodes become ONNX's, parameters its
// initializers under their names. What an operator of the opset does not exist for is written as a function
// of the domain lepton, which says by ONNX's own operators what it computes: runtimes inline it, and an
// import takes it for what it is. Identities that only change how values lie are left out. Called by
// train/export.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/graph.h"

namespace lepton::onnx {

struct ExportSpec {
  int64_t opset = 17;
  /// The network's input is (x - shift) * factor, computed in the model; empty: the input as it is.
  std::vector<float> shift, factor;
  Shape normalised = {};  ///< theirs: broadcasts to a sample
  std::string version;    ///< of Lepton
};

struct Exported {
  std::string bytes;
  std::vector<std::string> notes;  ///< whole sentences: which operators are not ONNX's in this opset
};

/// Throws Error(usage) for an opset that Lepton does not write, Error(deck) for a network that does not fit
/// in one file.
Exported export_network(const model::Graph& graph, std::span<const float> arena, const ExportSpec& spec);

}  // namespace lepton::onnx
