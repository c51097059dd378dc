// SPDX-License-Identifier: Apache-2.0
// Building a Graph node by node; see the header.
#include "model/graph_builder.h"

#include "model/layer_options.h"
#include "ops/table.h"

namespace lepton::model {

// Placeholders of statistics: -1, -2, ... until finish() knows how many parameters there are.
static size_t statistic_of(int placeholder) {
  return static_cast<size_t>(-1 - placeholder);
}

bool too_large(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dimension : shape)
    if (__builtin_mul_overflow(count, dimension, &count) || count > elements_most) return true;
  return false;
}

void claim_name(std::set<std::string>& taken, const std::string& name, const SourcePosition& position) {
  if (!taken.insert(name).second)
    layer_error(position, name, "another layer has this name",
                "Give one of them another option name = \"...\".");
}

GraphBuilder::GraphBuilder(const Shape& input) {
  graph_.values.push_back({"input", input});
  graph_.inputs.push_back(0);
}

GraphBuilder::GraphBuilder(std::span<const NamedShape> inputs) {
  CHECK(!inputs.empty(), "a network without inputs");
  for (const NamedShape& input : inputs) {
    CHECK(!find_input(graph_, input.name), "two inputs are called " + input.name);
    graph_.inputs.push_back(static_cast<int>(graph_.values.size()));
    graph_.values.push_back({input.name, input.shape});
  }
}

int GraphBuilder::add_parameter(const std::string& name, const Shape& shape, const Initialiser& initialiser,
                                bool decays, double l2) {
  graph_.initialisers.push_back(initialiser);
  return graph_.layout.add(name, shape, TensorRole::parameter, decays, l2);
}

int GraphBuilder::add_statistic(const std::string& name, const Shape& shape, Initialiser::Kind kind) {
  statistics_.push_back({name, shape, kind});
  return -static_cast<int>(statistics_.size());
}

bool GraphBuilder::set_statistics_momentum(double momentum) {
  if (momentum_is_set_ && momentum != graph_.statistics_momentum) return false;
  graph_.statistics_momentum = momentum;
  momentum_is_set_ = true;
  return true;
}

const Shape& GraphBuilder::parameter_shape(int index) const {
  return index < 0 ? statistics_[statistic_of(index)].shape : graph_.layout.tensors()[index].shape;
}

int GraphBuilder::add_node(const std::string& type, const std::string& name, ops::Attributes attributes,
                           std::vector<int> inputs, std::vector<int> parameters,
                           const SourcePosition& position) {
  claim_name(names_, name, position);
  const ops::OperatorRow* row = ops::find_operator(type);
  CHECK(row != nullptr, "no operator " + type);
  CHECK(row->takes(inputs.size()), name);
  ops::OpSpec spec;
  spec.type = type;
  spec.attributes = attributes;
  spec.samples = 1;
  for (const int input : inputs) spec.inputs.push_back(shape(input));
  for (const int parameter : parameters) spec.parameters.push_back(parameter_shape(parameter));
  try {
    spec.output = row->infer(spec);
  } catch (const Error& error) {
    if (error.code() != Exit::deck) throw;
    layer_error(position, name, error.problem(), error.hint());
  }
  if (too_large(spec.output))
    layer_error(position, name, "its output " + shape_text(spec.output) + " is too large for any machine",
                "");
  const int output = static_cast<int>(graph_.values.size());
  graph_.values.push_back({name, std::move(spec.output)});
  graph_.nodes.push_back(
      {type, name, std::move(attributes), std::move(inputs), std::move(parameters), output});
  return output;
}

Graph GraphBuilder::finish() {
  const int parameters = static_cast<int>(graph_.layout.tensors().size());
  for (const Statistic& statistic : statistics_) {
    graph_.layout.add(statistic.name, statistic.shape, TensorRole::statistic, false);
    graph_.initialisers.push_back({.kind = statistic.kind});
  }
  for (Node& node : graph_.nodes)
    for (int& index : node.parameters)
      if (index < 0) index = parameters + static_cast<int>(statistic_of(index));
  graph_.layout.finish();
  return std::move(graph_);
}

}  // namespace lepton::model
