// SPDX-License-Identifier: Apache-2.0
// Importer: one import under way. It goes through the nodes that the output depends on in the file's order
// and knows of every name what it is: a value of the graph, or a constant. The batch dimension of a value may
// stand anywhere but for Lepton's own first place, also joined with others, as attention has batch * heads;
// Transposes that only move it vanish. Inside of module onnx; inputs are in import_inputs.cpp, rules for
// single operators in import_rules.cpp, import_shapes.cpp and others that they name, what appends nodes in
// import_append.cpp, weights in import_weights.cpp.
#pragma once

#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "model/graph_builder.h"
#include "onnx/constant.h"
#include "onnx/import.h"
#include "onnx/signature.h"

namespace lepton::onnx {

/// A value of the graph, and which of its dimensions in the file is the batch. That one may be a product: so
/// many of the value's own dimensions are joined with the batch, `before` and `behind` it. What the file has
/// as [T, N * heads, D] is our [T, heads, D] with batch_axis 1 and one dimension behind.
struct Value {
  int index = 0;
  int64_t batch_axis = 0;
  int64_t before = 0, behind = 0;
  bool single = false;  ///< one number per sample, [N] in the file and [1] in the graph
  bool joined() const { return before + behind > 0; }
  bool plain() const { return batch_axis == 0 && !joined(); }  ///< as all of Lepton's
  Value with(int other) const { return {other, batch_axis, before, behind, single}; }
};
/// A sequence of tensors.
struct Parts {
  std::vector<Value> values;
};
struct Unknown {};  ///< what a node would give that cannot be computed
using Known = std::variant<Unknown, Value, Constant, Parts>;

struct ImportNode {
  const messages::NodeProto& proto;
  std::string type;  ///< ONNX operator, or ours of the domain lepton
  std::string name;  ///< unique
  bool own = false;  ///< of the domain lepton: attributes and inputs are ours
};

/// What an operator of ours takes.
struct Operands {
  ops::Attributes attributes;
  std::vector<Value> values;
  std::vector<int> parameters;
};

/// What a parameter is to the operator that takes it.
struct Role {
  Shape shape;          ///< in the arena
  bool turned = false;  ///< the constant's two dimensions change places
  model::Initialiser initialiser = {};
  bool decays = false;
  bool statistic = false;
  float factor = 1;  ///< by which the file multiplies the constant
  int beside = -1;   ///< a bias: the weights of the same product, in the arena
};

/// Throws Error(deck) that names the node when it is caught.
[[noreturn]] void cannot(const std::string& what);
void require_import(bool condition, const std::string& what);
/// Of axes that are counted from 0 on.
void require_distinct(std::vector<int64_t> axes);

class Importer {
 public:
  Importer(const messages::ModelProto& model, const ImportSpec& spec);
  model::Graph run();

  // ---- for rules: the node's inputs and outputs
  const Known* input(const ImportNode& node, int number) const;  ///< null: left out
  const Value* value(const ImportNode& node, int number) const;  ///< null: not a value of the graph
  const Constant* constant(const ImportNode& node, int number) const;
  /// A constant that the operator cannot do without.
  const Constant& required(const ImportNode& node, int number) const;
  const Value& required_value(const ImportNode& node, int number) const;
  const Shape& shape(const Value& value) const { return builder_.shape(value.index); }
  int64_t rank(const Value& value) const {  ///< in the file
    return std::ssize(shape(value)) + (value.single ? 0 : 1) - value.before - value.behind;
  }
  /// An axis in the file as it counts among our dimensions, the batch being 0.
  int64_t own_axis(const Value& value, int64_t axis) const;
  bool is_network_input(const Value& value) const { return value.index < std::ssize(data_); }
  /// An input of the network that the file declares to be integers or truth values.
  bool is_integer_input(const Value& value) const { return integer_inputs_.contains(value.index); }
  int64_t declared_batch() const { return declared_batch_; }  ///< 0: open
  const Known* known(const std::string& name) const;          ///< null: not yet
  void give(const ImportNode& node, int output, Known known);
  /// Refuses nodes of which more than the first output is used.
  void require_one_output(const ImportNode& node) const;
  bool is_used(const ImportNode& node, int output) const;
  /// The only node that takes this output, where there is one.
  const messages::NodeProto* only_consumer(const messages::NodeProto& node, int output) const;
  const messages::NodeProto* only_consumer(const ImportNode& node) const {
    return only_consumer(node.proto, 0);
  }
  const messages::NodeProto* producer(const std::string& output) const;  ///< null: no node gives it
  /// All nodes that the network needs and that take it.
  std::vector<const messages::NodeProto*> consumers(const std::string& name) const;
  void skip(const messages::NodeProto& node) { skipped_.insert(&node); }
  /// A node's inputs and attributes as the table of slots says.
  Operands operands(const ImportNode& node);
  ops::Attributes attributes(const ImportNode& node) const;
  /// Appends one of our nodes; all values must have their batch at the same place, which the result has too.
  Value append(const std::string& type, const std::string& name, Operands operands);
  /// Appends one of our nodes as it is: of values that have the batch in front, of any ranks.
  int add(const std::string& type, const std::string& name, Operands operands);
  /// The same numbers in another shape of ours; no node where it is the same.
  Value reshaped(const std::string& name, const Value& value, const Shape& shape);
  /// A learned tensor or another constant as a value that is the same for each sample, its batch dimension,
  /// of 1, being where that of `like` is.
  Value spread(const ImportNode& node, int number, const Value& like);
  /// By the table of operators alone.
  void add_by_table(const ImportNode& node);
  bool set_statistics_momentum(double momentum) { return builder_.set_statistics_momentum(momentum); }

  // ---- weights (import_weights.cpp)
  /// Adds a parameter or running statistic with the constant's values.
  int add_parameter(const ImportNode& node, int number, const Constant& constant, const Role& role);
  /// Whether an input of an operator changes in training.
  bool learns(const ImportNode& node, int number, const Constant& constant) const;
  /// Of an operator's input by its place: how it begins and whether it decays.
  Role role_of(const ImportNode& node, int number, const Shape& shape) const;
  /// A parameter's shape against a value that it is broadcast to, without the batch dimension.
  Shape without_batch(const Constant& constant, const Value& value) const;

 private:
  void find_needed();
  void refuse_names_twice() const;
  void read_constants();
  void read_inputs();  ///< import_inputs.cpp, like the five behind it
  void bind_input(const messages::ValueInfoProto& input, size_t data);
  Value turn_channels(const std::string& name, const Value& value);
  void match_inputs(std::vector<const messages::ValueInfoProto*>& inputs, std::set<size_t>& data);
  bool is_weight(const messages::ValueInfoProto& input) const;
  void refuse_inputs(const std::vector<const messages::ValueInfoProto*>& inputs,
                     const std::set<size_t>& data) const;
  void import_node(const messages::NodeProto& proto);
  bool fold_node(const ImportNode& node);
  ImportNode named(const messages::NodeProto& proto);
  void move_axes(const std::string& type, const Value& value, ops::Attributes& attributes) const;
  void align(const std::string& type, const std::string& name, std::vector<Value>& values);
  std::string unique(const std::string& wish);
  void note_problem(const ImportNode& node, const std::string& what);
  bool followed_by_relu(const std::string& name) const;
  void place_values(model::Graph& graph);
  void check_frozen(const model::Graph& graph) const;
  void note_tensors() const;
  /// Exporters for inference merge equal tensors, unless the file shows that this one has not.
  bool may_have_merged() const { return signature_.parameters.empty() || !lost_.empty(); }
  void claim_elements(const std::string& origin, int64_t total, const std::vector<int32_t>& sources);

  const messages::ModelProto& model_;
  const messages::GraphProto& graph_;
  const ImportSpec& spec_;
  const Signature signature_;
  const std::vector<std::string> lost_;  ///< parameters of the program that the file does not have
  std::vector<model::NamedShape> data_;  ///< the network's inputs, as the data give them
  model::GraphBuilder builder_;
  std::map<std::string, Known> known_;
  std::map<std::string, std::vector<const messages::NodeProto*>> consumers_;  ///< among those needed
  std::set<const messages::NodeProto*> needed_, skipped_;
  std::set<std::string> names_;
  struct KnownParameter {
    int index = 0;  ///< in the arena
    Shape shape;
    std::vector<int32_t> sources;  ///< see Constant
    float factor = 1;
    int beside = -1;  ///< see Role
  };
  std::multimap<std::string, KnownParameter> parameters_;  ///< by the name of what they are of
  std::map<std::string, std::vector<bool>> claimed_;       ///< elements of initializers that learn
  std::map<std::string, std::vector<float>> given_;        ///< initial values by the tensor's name
  std::set<std::string> taken_;                            ///< initializers that stand in the arena
  std::set<std::string> computed_;                         ///< and those that nodes of constants compute with
  std::vector<std::string> problems_;
  std::set<int> integer_inputs_;
  int64_t declared_batch_ = -1;  ///< -1: no input yet
};

/// Operators that broadcast their operands.
bool broadcasts(const std::string& type);

/// Rules that are more than the table of operators; null: there is none.
using ImportRule = void (*)(Importer&, const ImportNode&);
ImportRule find_import_rule(const std::string& type);
void recurrent_rule(Importer& importer, const ImportNode& node);      ///< import_recurrent.cpp
void resize_rule(Importer& importer, const ImportNode& node);         ///< import_spatial.cpp
void group_norm_rule(Importer& importer, const ImportNode& node);     ///< import_spatial.cpp
void instance_norm_rule(Importer& importer, const ImportNode& node);  ///< import_spatial.cpp

}  // namespace lepton::onnx
