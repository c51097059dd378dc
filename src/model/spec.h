// SPDX-License-Identifier: Apache-2.0
// ModelSpec: a network as the deck describes it, already parsed but not yet understood: layers by type name
// with their options and source positions. train/deck fills it; model/layers validates it and builds the
// graph.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "ops/sparse_matrix.h"
#include "tensor/shape.h"

namespace lepton::model {

using OptionValue =
    std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<std::string>>;

struct Option {
  OptionValue value;
  SourcePosition position;
};

struct LayerSpec {
  std::string type;  ///< deck name: "dense", "conv2d", "residual", ...
  std::map<std::string, Option> options;
  std::map<std::string, std::vector<LayerSpec>> nested;  ///< "layers" and "projection" of a residual
  SourcePosition position;
};

struct NamedShape {
  std::string name;
  Shape shape;
};

/// An output of the network that has a loss of its own.
struct HeadSpec {
  std::string name;              ///< of the loss
  std::string from;              ///< the layer whose output it is, one of ModelSpec::layers
  int64_t outputs = 0;           ///< as ModelSpec has them
  int64_t positions = 1;         ///< the same
  SourcePosition position = {};  ///< of the loss
};

struct ModelSpec {
  std::vector<LayerSpec> layers;
  Shape input;  ///< one sample, ONNX order: [C, D, H, W], [C, H, W], [T, F] or [F]
  /// All inputs where the data have several or name them; empty: one, `input`, called "input".
  std::vector<NamedShape> inputs;
  int64_t outputs = 0;  ///< what the targets ask of the last layer: classes, or values per sample; 0 = any
  /// Class ids per sample: with more than one the last layer gives scores for each; 0: there are no targets.
  int64_t positions = 1;
  /// Several outputs; none: the last layer gives the scores. Outputs and positions are then theirs.
  std::vector<HeadSpec> heads = {};
  std::shared_ptr<const ops::SparseMatrix> adjacency = nullptr;  ///< of the graph whose nodes a sample holds
  double l2 = 0;                         ///< [model] l2: default of every layer with weights
  int64_t memory_bytes_max = INT64_MAX;  ///< parameters that alone exceed it are refused: Error(memory)
  SourcePosition position;               ///< of [model]
};

}  // namespace lepton::model
