// SPDX-License-Identifier: Apache-2.0
// Building a Graph node by node; see the header.
#include "model/graph_builder.h"

#include <algorithm>

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
  graph_.values.push_back({"input", input, usual_layout(input)});
  graph_.inputs.push_back(0);
}

GraphBuilder::GraphBuilder(std::span<const NamedShape> inputs) {
  CHECK(!inputs.empty(), "a network without inputs");
  for (const NamedShape& input : inputs) {
    CHECK(!find_input(graph_, input.name), "two inputs are called " + input.name);
    graph_.inputs.push_back(static_cast<int>(graph_.values.size()));
    graph_.values.push_back({input.name, input.shape, usual_layout(input.shape)});
  }
}

int GraphBuilder::add_parameter(const std::string& name, const Shape& shape, const Initialiser& initialiser,
                                bool decays, double l2) {
  int tensor = shared_tensor(name, shape);
  if (tensor < 0) {
    for (OpenUse& open : uses_) ++open.own;
    graph_.initialisers.push_back(initialiser);
    tensor = graph_.layout.add(name, shape, TensorRole::parameter, decays, l2, freezes());
  }
  tensors_.emplace(name, tensor);
  return tensor;
}

void GraphBuilder::begin_use(ParameterUse use) {
  uses_.push_back({std::move(use)});
}

void GraphBuilder::end_use() {
  const OpenUse done = std::move(uses_.back());
  uses_.pop_back();
  const ParameterUse& use = done.use;
  if (!use.weights_of.empty() && done.shared == 0)
    layer_error(use.position, use.layer,
                "weights_of = \"" + use.weights_of + "\" gives it nothing: that layer has no parameters of " +
                    "the names that this one's have",
                "Layers of one type share all parameters; a dense layer and an embedding the weight.");
  if (use.frozen && done.own == 0)
    layer_error(use.position, use.layer,
                "frozen = true has no effect: the layer has no parameters of its own",
                use.weights_of.empty() ? "" : "Freeze the layer whose weights it uses.");
}

bool GraphBuilder::freezes() const {
  return std::any_of(uses_.begin(), uses_.end(), [](const OpenUse& open) { return open.use.frozen; });
}

int GraphBuilder::shared_tensor(const std::string& name, const Shape& shape) {
  for (size_t i = uses_.size(); i-- > 0;) {
    const ParameterUse& use = uses_[i].use;
    if (use.weights_of.empty()) continue;
    const auto found = tensors_.find(use.weights_of + name.substr(use.layer.size()));
    if (found == tensors_.end()) continue;
    const ArenaTensor& tensor = graph_.layout.tensors()[static_cast<size_t>(found->second)];
    if (tensor.shape != shape)
      layer_error(use.position, use.layer,
                  "its " + name + " would be " + shape_text(shape) + ", but " + found->first + " is " +
                      shape_text(tensor.shape) + ", so it cannot use that as weights_of says",
                  "");
    for (OpenUse& open : uses_) ++open.shared;
    return found->second;
  }
  return -1;
}

int GraphBuilder::add_statistic(const std::string& name, const Shape& shape, Initialiser::Kind kind) {
  for (OpenUse& open : uses_) {
    ++open.own;
    if (!open.use.weights_of.empty())
      layer_error(open.use.position, open.use.layer, "weights_of cannot share the running statistics " + name,
                  "Each batch_norm layer needs its own.");
  }
  statistics_.push_back({name, shape, kind, freezes()});
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

ops::OpSpec GraphBuilder::spec_of(const std::string& type, const ops::Attributes& attributes,
                                  const std::vector<int>& inputs, const std::vector<int>& parameters) const {
  ops::OpSpec spec;
  spec.type = type;
  spec.attributes = attributes;
  spec.samples = 1;
  for (const int input : inputs) {
    spec.inputs.push_back(shape(input));
    spec.layouts.push_back(graph_.values[input].layout);
  }
  for (const int parameter : parameters) spec.parameters.push_back(parameter_shape(parameter));
  return spec;
}

int GraphBuilder::in_layout(int value, Layout layout) {
  const Value original = graph_.values[value];
  if (original.layout == layout) return value;
  const auto [known, added] = copies_.emplace(value, static_cast<int>(graph_.values.size()));
  if (!added) return known->second;
  const std::string name = original.name + (layout == Layout::plain ? ".plain" : ".channels_last");
  graph_.values.push_back({name, original.shape, layout});
  graph_.nodes.push_back({"Identity", name, {}, {value}, {}, known->second});
  return known->second;
}

int GraphBuilder::add_node(const std::string& type, const std::string& name, ops::Attributes attributes,
                           std::vector<int> inputs, std::vector<int> parameters,
                           const SourcePosition& position) {
  claim_name(names_, name, position);
  const ops::OperatorRow* row = ops::find_operator(type);
  CHECK(row != nullptr, "no operator " + type);
  CHECK(row->takes(inputs.size()), name);
  ops::OpSpec spec = spec_of(type, attributes, inputs, parameters);
  try {
    spec.output = row->infer(spec);
  } catch (const Error& error) {
    if (error.code() != Exit::deck) throw;
    layer_error(position, name, error.problem(), error.hint());
  }
  if (too_large(spec.output))
    layer_error(position, name, "its output " + shape_text(spec.output) + " is too large for any machine",
                "");
  const ops::Layouts layouts = row->lay(spec);
  for (size_t k = 0; k < inputs.size(); ++k) inputs[k] = in_layout(inputs[k], layouts.inputs[k]);
  const int output = static_cast<int>(graph_.values.size());
  graph_.values.push_back({name, std::move(spec.output), layouts.output});
  graph_.nodes.push_back(
      {type, name, std::move(attributes), std::move(inputs), std::move(parameters), output});
  return output;
}

void GraphBuilder::keep_for(int scores) {
  std::vector<bool> read(graph_.values.size(), false);
  for (const int input : graph_.inputs) read[static_cast<size_t>(input)] = true;
  read[static_cast<size_t>(scores)] = true;
  for (auto node = graph_.nodes.rbegin(); node != graph_.nodes.rend(); ++node)
    for (const int input : node->inputs)
      if (read[static_cast<size_t>(node->output)]) read[static_cast<size_t>(input)] = true;
  std::vector<int> places(graph_.values.size(), -1);
  std::vector<Value> values;
  for (size_t v = 0; v < places.size(); ++v) {
    if (!read[v]) continue;
    places[v] = static_cast<int>(values.size());
    values.push_back(std::move(graph_.values[v]));
  }
  std::erase_if(graph_.nodes, [&](const Node& node) { return !read[static_cast<size_t>(node.output)]; });
  for (Node& node : graph_.nodes) {
    node.output = places[static_cast<size_t>(node.output)];
    for (int& input : node.inputs) input = places[static_cast<size_t>(input)];
  }
  graph_.values = std::move(values);
  copies_.clear();
}

Graph GraphBuilder::finish() {
  const int scores = graph_.nodes.back().output;
  in_layout(scores, usual_layout(shape(scores)));
  const int parameters = static_cast<int>(graph_.layout.tensors().size());
  for (const Statistic& statistic : statistics_) {
    graph_.layout.add(statistic.name, statistic.shape, TensorRole::statistic, false, 0, statistic.frozen);
    graph_.initialisers.push_back({.kind = statistic.kind});
  }
  for (Node& node : graph_.nodes)
    for (int& index : node.parameters)
      if (index < 0) index = parameters + static_cast<int>(statistic_of(index));
  graph_.layout.finish();
  return std::move(graph_);
}

}  // namespace lepton::model
