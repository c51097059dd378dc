// SPDX-License-Identifier: Apache-2.0
// The graph: nodes with ONNX operator names, attributes and semantics, in topological order. Deck layers,
// ONNX import and ONNX export all meet here. Shapes leave out the batch dimension and are static for a run.
// Invariants: each value is written by one node; the first values are the network's inputs; the last node
// writes the scores, in their usual layout (of several outputs all, side by side in one vector); `layout`
// holds every parameter and running statistic that nodes name by index.
#pragma once

#include <map>
#include <optional>
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
    orthogonal,  ///< square blocks as wide as the last dimension, each with orthonormal rows
    columns,     ///< `value` in some columns of each row, 0 in the others
    given        ///< Graph::given
  };
  Kind kind = Kind::zeros;
  double deviation = 0.01;  ///< of `normal`
  double value = 0;         ///< of `constant` and `columns`
  int64_t fan_in = 1, fan_out = 1;
  int64_t columns_begin = 0, columns_end = 0;  ///< of `columns`
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

/// One of several outputs: a part of each sample's scores.
struct Head {
  std::string name;              ///< of its loss
  int value = 0;                 ///< what the layer gives; in the scores its channels, if any, lie last
  int64_t first = 0, count = 0;  ///< of the scores
};

struct Graph {
  std::vector<Value> values;
  std::vector<int> inputs;  ///< value indices 0, 1, ... of what the data give, in their order; at least one
  std::vector<Node> nodes;
  ArenaLayout layout;
  std::vector<Initialiser> initialisers;  ///< one per arena tensor
  /// Initial values from elsewhere, by arena tensor. Needed until the state begins, and then cleared.
  std::map<int, std::vector<float>> given;
  double statistics_momentum = 0.9;  ///< of all running statistics: r' = m r + (1 - m) batch
  std::vector<Head> heads;           ///< none: the scores are one output
  size_t joining_nodes = 0;          ///< so many at the end put heads side by side
  const Shape& input_shape() const { return values.front().shape; }  ///< of the first input
  int64_t outputs() const { return element_count(values[nodes.back().output].shape); }
};

/// Deck layers to graph. Throws Error(deck) at the layer's position: unknown type or option (with the nearest
/// name), impossible value, shapes that do not fit (names the layer and both shapes), a last layer whose
/// width is not spec.outputs.
Graph build_graph(const ModelSpec& spec);

/// One row per deck layer type for help and reference: name, options with defaults, one sentence.
std::string layer_reference();

/// Per value: does a parameter that learns lie before it, so that a gradient must come back to it?
std::vector<bool> values_needing_gradient(const Graph& graph);

/// Elements of the gradients that a unit gives: of each node those of its parameters that learn, and of its
/// running statistics. More than there are parameters where nodes share some.
int64_t gradient_elements(const Graph& graph);

/// To how many nodes a parameter belongs, at most: so many contributions to its gradient come from each unit.
int64_t contributions_most(const Graph& graph);

/// Names of parameters that learn, but of no node.
std::vector<std::string> unused_parameters(const Graph& graph);

/// The input of this name; nullopt: none.
std::optional<int> find_input(const Graph& graph, const std::string& name);

/// Of an input whose numbers are those of rows of tables (Gather), also by way of others.
struct TableRows {
  int64_t safe = 0;   ///< numbers below it are rows of each table; 0: the input is no such numbers
  int64_t below = 0;  ///< every number must be below it; 0: not all are such numbers
  /// Of an input [F] whose parts number the rows of several tables: below what each element must be, 0: it is
  /// no such number. Empty: of another input.
  std::vector<int64_t> columns = {};
};
TableRows table_rows(const Graph& graph, int input = 0);

/// Of an input that is called NAME.length: the longest length, which is the first dimension of the input
/// NAME; 0: the input is no length.
int64_t longest_length(const Graph& graph, int input);

/// Whether an Attention node has the input as the mask of its keys.
bool is_mask(const Graph& graph, int input);

/// Floating-point operations of one sample, forward and backward (products and convolutions; for reports).
double training_flops_per_sample(const Graph& graph);

/// A table of nodes with shapes and parameter counts, for `check` and `inspect`.
std::string describe(const Graph& graph);

}  // namespace lepton::model
