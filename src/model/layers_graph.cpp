// SPDX-License-Identifier: Apache-2.0
// Layers on graphs, whose samples are [nodes, features] and whose adjacency is a constant of the network
// (ModelSpec::adjacency): graph_conv.
#include "model/layers.h"

namespace lepton::model {

namespace {

struct GraphConvOptions {
  int64_t units;
  ops::Normalisation normalisation;
  bool self_loops;
  WeightOptions weights;
};

int build_graph_conv(const LayerContext& context, const GraphConvOptions& options) {
  const Shape& input = context.shape();
  const auto& adjacency = context.model.adjacency;
  if (adjacency == nullptr)
    context.error("a graph_conv layer needs a graph", "Name it in the deck: data.adjacency.");
  if (input.size() != 2 || input[0] != adjacency->rows)
    context.error("a graph_conv layer takes [nodes, features], and the graph has " +
                      std::to_string(adjacency->rows) + " nodes, but its input is " + shape_text(input),
                  "");
  WeightOptions weights = options.weights;
  weights.bias = false;
  weights.activation = "none";
  const int mixed = add_dense(context, context.name, context.input, options.units, weights);
  auto matrix = std::make_shared<const ops::SparseMatrix>(
      ops::normalised(*adjacency, options.normalisation, options.self_loops));
  int sum = context.builder.add_node("SparseMatMul", context.name + ".neighbours", {{"matrix", matrix}},
                                     {mixed}, {}, context.layer.position);
  if (options.weights.bias) {
    const int bias = context.builder.add_parameter(context.name + ".bias", {options.units}, {});
    sum = context.builder.add_node("Add", context.name + ".add", {}, {sum}, {bias}, context.layer.position);
  }
  return build_activation(context, context.name, options.weights.activation, sum);
}

}  // namespace

/// Kipf and Welling 2017: activation(A (x W^T) + b) with A normalised.
BuildStep read_graph_conv(const LayerReader& reader) {
  GraphConvOptions options;
  options.units = reader.options.required_integer("units", 1);
  const std::string how = reader.options.choice("normalize", "symmetric", {"symmetric", "rows", "none"});
  options.normalisation = how == "symmetric" ? ops::Normalisation::symmetric
                          : how == "rows"    ? ops::Normalisation::rows
                                             : ops::Normalisation::none;
  options.self_loops = reader.options.boolean("self_loops", true);
  options.weights = read_weight_options(reader);
  return [options](const LayerContext& context) { return build_graph_conv(context, options); };
}

}  // namespace lepton::model
