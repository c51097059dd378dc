// SPDX-License-Identifier: Apache-2.0
// The graph: nodes with ONNX operator names, attributes and semantics, in topological order. Deck layers,
// ONNX import and ONNX export all meet here. Shapes leave out the batch dimension and are static for a run.
// Invariants: each value is written by one node; value 0 is the network's input; the last node writes the
// scores, in their usual layout; `layout` holds every parameter and running statistic that nodes name by
// index.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/spec.h"
#include "ops/op.h"
#include "tensor/arena.h"

namespace lepton::model {

struct Initialiser {
  enum class Kind {
    zeros,
    ones,
    constant,
    he_normal,
    he_uniform,
    glorot_normal,
    glorot_uniform,
    normal,
    given  ///< Graph::given
  };
  Kind kind = Kind::zeros;
  double deviation = 0.01;  ///< of `normal`
  double value = 0;         ///< of `constant`
  int64_t fan_in = 1, fan_out = 1;
};

struct Node {
  std::string type;  ///< ONNX operator
  std::string name;  ///< unique: "dense_1", "residual_2.conv2d_1"
  ops::Attributes attributes;
  std::vector<int> inputs;      ///< value indices
  std::vector<int> parameters;  ///< arena tensor indices, running statistics last
  int output = 0;               ///< value index
};

struct Value {
  std::string name;
  Shape shape;
  Layout layout = Layout::plain;
};

struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;
  ArenaLayout layout;
  std::vector<Initialiser> initialisers;  ///< one per arena tensor
  /// Initial values from elsewhere, by arena tensor. Needed until the state begins, and then cleared.
  std::map<int, std::vector<float>> given;
  double statistics_momentum = 0.9;  ///< of all running statistics: r' = m r + (1 - m) batch
  const Shape& input_shape() const { return values.front().shape; }
  int64_t outputs() const { return element_count(values[nodes.back().output].shape); }
};

/// Deck layers to graph. Throws Error(deck) at the layer's position: unknown type or option (with the nearest
/// name), impossible value, shapes that do not fit (names the layer and both shapes), a last layer whose
/// width is not spec.outputs.
Graph build_graph(const ModelSpec& spec);

/// One row per deck layer type for help and reference: name, options with defaults, one sentence.
std::string layer_reference();

/// Per value: does a parameter lie before it, so that a gradient must come back to it?
std::vector<bool> values_needing_gradient(const Graph& graph);

/// Rows of the smallest table whose rows the network's input numbers (Gather); 0: the input is no such
/// numbers.
int64_t input_rows(const Graph& graph);

/// Floating-point operations of one sample, forward and backward (products and convolutions; for reports).
double training_flops_per_sample(const Graph& graph);

/// A table of nodes with shapes and parameter counts, for `check` and `inspect`.
std::string describe(const Graph& graph);

}  // namespace lepton::model
