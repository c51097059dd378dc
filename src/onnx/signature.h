// SPDX-License-Identifier: Apache-2.0
// Signature: what PyTorch's exporter by torch.export notes in a file of the program that it wrote: which of
// its tensors an optimizer trains, and which none does. It stands in the metadata of the graph (a field of
// ONNX's IR 10, which the packaged messages keep unread). Exporting for inference folds and merges trained
// tensors, which a training cannot undo; that is told. Called by the importer.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "onnx/messages.h"

namespace lepton::onnx {

struct Signature {
  std::vector<std::string> parameters;  ///< in the program's order
  std::set<std::string> buffers;        ///< running statistics are among them
};

/// Empty where the exporter was another one.
Signature signature_of(const messages::GraphProto& graph);

/// Parameters of the program that the file does not have as tensors.
std::vector<std::string> lost_parameters(const messages::GraphProto& graph, const Signature& signature);

}  // namespace lepton::onnx
