// SPDX-License-Identifier: Apache-2.0
// Initial weights from a safetensors or ONNX file by name ([model] weights): what fine-tuning begins with.
// Everything that does not fit is told at once. Also how a bare model is read. Called by begin_state, check
// and resume.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/graph.h"
#include "train/deck.h"

namespace lepton::train {

/// What became of the tensors, by name, those of the network in its order.
struct PlacedWeights {
  std::vector<std::string> placed;      ///< of the network, from the file
  std::vector<std::string> left;        ///< of the network: not in the file, their values stay
  std::vector<std::string> unexpected;  ///< of the file: not in the network
  std::string text() const;             ///< "12 tensors; a.weight keeps its initial values; ..."
};

/// **Local.** Writes the file's tensors over those of the same name in `parameters` (the whole arena), once
/// the file's names have been renamed. Throws Error(data) that names all tensors that are missing or
/// unexpected (unless `spec` allows them) and all of another shape; Error(no_input) without the file.
/// `hint`: what to do.
PlacedWeights place_weights(const WeightsSpec& spec, const model::Graph& graph, std::span<float> parameters,
                            const std::string& hint);

/// What to do where a deck's weights do not fit.
inline constexpr const char* weights_hint =
    "See model.weights_missing, model.weights_unexpected and model.weights_rename; give layers of other "
    "shapes "
    "other names.";

/// The name of a tensor of the file in the network: by the first replacement whose beginning it has.
std::string renamed(const WeightsSpec& spec, const std::string& name);

}  // namespace lepton::train
