// SPDX-License-Identifier: Apache-2.0
// Exporter: one export under way. It goes through the graph's nodes in order; each becomes ONNX's node of the
// same name, or several where a rule says so. Inside of module onnx; the walk and most rules are in
// export.cpp, recurrent layers, Resize and truth values in export_rules.cpp.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "onnx/export.h"
#include "onnx/messages.h"

namespace lepton::onnx {

class Exporter {
 public:
  using Names = std::vector<std::string>;
  Exporter(const model::Graph& graph, std::span<const float> arena, const ExportSpec& spec)
      : graph_(graph), arena_(arena), spec_(spec), onnx_(*model_.mutable_graph()) {}
  Exported run();

 private:
  using Rule = void (Exporter::*)(const model::Node&);
  static Rule find_rule(const std::string& type);

  void write_head();
  void write_tensors();
  std::string normalise(const std::string& input);
  std::string unique(const std::string& wish);
  const Shape& shape(int value) const { return graph_.values[static_cast<size_t>(value)].shape; }
  const std::string& parameter(const model::Node& node, size_t i) const {
    return graph_.layout.tensors()[static_cast<size_t>(node.parameters[i])].name;
  }
  Names operands(const model::Node& node) const;
  /// Appends a node of ONNX's that gives `output`.
  messages::NodeProto& emit(const std::string& type, const std::string& name, const Names& inputs,
                            const std::string& output, const ops::Attributes& attributes = {});
  std::string integers(const std::string& name, const std::vector<int64_t>& values, bool scalar = false);

  /// Inputs that hold whole numbers, for all that takes them: rows of tables, or lengths.
  void find_integers();
  bool is_lengths(int value) const;
  std::string cast(const std::string& value, int64_t type, const std::string& name);
  std::string lengths_of(const model::Node& node);
  Names function_operands(const model::Node& node);
  std::string resized_extent(const model::Node& node, const std::vector<int64_t>& sizes);

  void export_node(const model::Node& node);
  void by_table(const model::Node& node);
  void by_function(const model::Node& node);
  void gemm(const model::Node& node);
  void reshape(const model::Node& node);
  void expand(const model::Node& node);
  void gather(const model::Node& node);
  void batch_norm(const model::Node& node);
  void pool(const model::Node& node);
  void pad(const model::Node& node);
  void recurrent(const model::Node& node);
  void resize(const model::Node& node);
  void truth(const model::Node& node);
  void where(const model::Node& node);
  std::string condition(const model::Node& node, const std::string& operand);
  bool needs_number(int value) const;
  void slots(const model::Node& node, ops::Attributes& attributes, Names& inputs);

  const model::Graph& graph_;
  std::span<const float> arena_;
  const ExportSpec& spec_;
  messages::ModelProto model_;
  messages::GraphProto& onnx_;
  std::map<int, std::string> values_;  ///< names
  std::map<int, std::string> truths_;  ///< names as truth values
  std::set<int> integers_;
  std::set<std::string> taken_;
  std::map<std::string, std::string> functions_;  ///< names by type and attributes
  std::set<std::string> noted_;
  std::vector<std::string> notes_;
};

}  // namespace lepton::onnx
