// SPDX-License-Identifier: Apache-2.0
// ONNX import: a network that another program made becomes a graph as deck layers do, with the file's weights
// as initial values. Nodes become nodes of our operators (ops/table) with their attributes; what the file
// computes from constants alone, shapes above all, is folded (fold.h); weights keep their names. What Lepton
// does not compute is named all at once. Called by train/setup.
#pragma once

#include <string>
#include <vector>

#include "model/graph.h"

namespace lepton::onnx {

/// Names of tensors that do not learn as one would think.
struct TensorNotes {
  std::vector<std::string> computed;  ///< nodes compute with them alone before the network does: norms, say
  std::vector<std::string> lost;      ///< see lost_parameters (signature.h)
};

struct ImportSpec {
  std::string path;         ///< of the file, for messages
  SourcePosition position;  ///< of the key that names it
  Shape input;              ///< one sample of the data, which the network must take
  double l2 = 0;            ///< of all weights
  bool initialise = false;  ///< the file's weights are left aside: all begin as those of deck layers
  std::vector<std::string> frozen = {};  ///< tensors whose names begin so stay as they are
  /// Of data with several or named inputs, in their order; empty: one, `input`. The file's inputs are matched
  /// by name; where one of lengths (NAME.length) or one other is left on both sides, these are matched too.
  std::vector<model::NamedShape> inputs = {};
  TensorNotes* notes = nullptr;  ///< is filled
};

/// The network in `bytes` (read_model's). Initial values stand in the graph's initialisers. Throws
/// Error(data, deck) at the file or the position; nodes that cannot be computed, all in one Error(deck).
model::Graph import_network(const std::string& bytes, const ImportSpec& spec);

}  // namespace lepton::onnx
