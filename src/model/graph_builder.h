// SPDX-License-Identifier: Apache-2.0
// GraphBuilder: grows a Graph node by node in topological order; the operator table gives each node's output
// shape. Invariants: node names are unique; parameters stand in the arena in the order of the nodes, running
// statistics behind all parameters (they get their arena index in finish(), and until then a placeholder
// below 0). A parameter that several nodes share is one tensor; a frozen one is marked in the layout. Used by
// the layer builders; an ONNX importer will use it too.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "model/graph.h"

namespace lepton::model {

/// No tensor of a graph, and no sample's share of one, may have more elements than this.
constexpr int64_t elements_most = int64_t{1} << 40;
bool too_large(const Shape& shape);

/// Throws Error(deck) at `position` when `name` is among `taken`; then it is.
void claim_name(std::set<std::string>& taken, const std::string& name, const SourcePosition& position);

/// How the parameters of a layer are added, those of the layers nested in it included.
struct ParameterUse {
  std::string layer;       ///< its name, with which its parameters' names begin
  std::string weights_of;  ///< the layer that has them already: those of the same name behind the layer's
  bool frozen = false;
  SourcePosition position;
};

class GraphBuilder {
 public:
  /// One input, called "input".
  explicit GraphBuilder(const Shape& input);
  /// Inputs by name; they are the values 0, 1, ... At least one, names are unique (CHECKed).
  explicit GraphBuilder(std::span<const NamedShape> inputs);

  /// The values that are inputs, in order, and the one of a name (nullopt: none), for layers that say where
  /// they come from.
  const std::vector<int>& inputs() const { return graph_.inputs; }
  std::optional<int> input(const std::string& name) const { return find_input(graph_, name); }

  const Shape& shape(int value) const { return graph_.values[value].shape; }
  int64_t longest_length(int input) const { return model::longest_length(graph_, input); }

  /// Until end_use() all that is added is used in this way. Uses may be nested.
  void begin_use(ParameterUse use);
  /// Throws Error(deck) where there was nothing to freeze or to share.
  void end_use();
  /// Whether what is added now is frozen.
  bool freezes() const;

  /// Returns the arena index: of a tensor that stands already where the parameter is shared (Error(deck) when
  /// it has another shape). Decaying parameters are weights: L2 and weight decay apply.
  int add_parameter(const std::string& name, const Shape& shape, const Initialiser& initialiser,
                    bool decays = false, double l2 = 0);
  /// Returns a placeholder for add_node.
  int add_statistic(const std::string& name, const Shape& shape, Initialiser::Kind kind);
  /// The one momentum of all running statistics; false if another one stands already.
  bool set_statistics_momentum(double momentum);
  double statistics_momentum() const { return graph_.statistics_momentum; }

  /// Appends a node, behind an Identity for each input that it takes in another layout, and returns its
  /// output value. Throws Error(deck) at `position`, naming the layer, when the operator refuses its shapes
  /// or the name is taken.
  int add_node(const std::string& type, const std::string& name, ops::Attributes attributes,
               std::vector<int> inputs, std::vector<int> parameters, const SourcePosition& position);

  size_t nodes() const { return graph_.nodes.size(); }  ///< so far
  /// Takes away the nodes on which `scores` does not depend. Values have other numbers then.
  void keep_for(int scores);
  Graph finish();
  int64_t elements() const { return graph_.layout.elements(); }  ///< of parameters so far

 private:
  struct Statistic {
    std::string name;
    Shape shape;
    Initialiser::Kind kind;
    bool frozen;
  };
  struct OpenUse {
    ParameterUse use;
    int own = 0, shared = 0;  ///< tensors added in it
  };
  const Shape& parameter_shape(int index) const;
  ops::OpSpec spec_of(const std::string& type, const ops::Attributes& attributes,
                      const std::vector<int>& inputs, const std::vector<int>& parameters) const;
  /// The value itself, or a copy of it that lies so.
  int in_layout(int value, Layout layout);
  /// The tensor that a parameter of this name shares; -1: none.
  int shared_tensor(const std::string& name, const Shape& shape);

  Graph graph_;
  std::vector<Statistic> statistics_;
  std::set<std::string> names_;
  std::map<int, int> copies_;  ///< values in their other layout
  std::vector<OpenUse> uses_;
  std::map<std::string, int> tensors_;  ///< of each parameter's name, those that are shared included
  bool momentum_is_set_ = false;
};

}  // namespace lepton::model
