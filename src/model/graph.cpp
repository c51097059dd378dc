// SPDX-License-Identifier: Apache-2.0
// What can be read off a finished graph: where gradients are needed, what a sample costs, and the table that
// `check` and `inspect` print.
#include "model/graph.h"

#include <algorithm>
#include <array>

#include "ops/attention_shape.h"

namespace lepton::model {

std::vector<bool> values_needing_gradient(const Graph& graph) {
  std::vector<bool> needs(graph.values.size(), false);
  for (const Node& node : graph.nodes) {
    bool any = false;
    for (const int tensor : node.parameters)
      any = any || graph.layout.tensors()[tensor].role == TensorRole::parameter;
    for (const int input : node.inputs) any = any || needs[input];
    needs[node.output] = any;
  }
  return needs;
}

int64_t input_rows(const Graph& graph) {
  int64_t rows = 0;
  for (const Node& node : graph.nodes) {
    if (node.type != "Gather" || node.inputs.front() != 0) continue;
    const int64_t own = graph.layout.tensors()[node.parameters.front()].shape.front();
    rows = rows == 0 ? own : std::min(rows, own);
  }
  return rows;
}

/// Scores and what is gathered by them; of causal attention half.
static double attention_flops(const Graph& graph, const Node& node) {
  ops::OpSpec spec;
  spec.attributes = node.attributes;
  for (const int input : node.inputs) spec.inputs.push_back(graph.values[input].shape);
  const ops::AttentionShape shape(spec);
  const auto pairs = static_cast<double>(shape.heads * shape.queries * shape.keys) / (shape.causal ? 2 : 1);
  return 2 * pairs * static_cast<double>(shape.size + shape.value_size);
}

double training_flops_per_sample(const Graph& graph) {
  const std::vector<bool> needs_gradient = values_needing_gradient(graph);
  double total = 0;
  for (const Node& node : graph.nodes) {
    if (node.type == "Attention")
      total += attention_flops(graph, node) * (needs_gradient[node.output] ? 3 : 1);
    if (node.type == "MatMul")
      total += 2.0 * static_cast<double>(element_count(graph.values[node.output].shape)) *
               static_cast<double>(graph.values[node.inputs.front()].shape.back()) *
               (needs_gradient[node.output] ? 3 : 1);
    if (node.type != "Gemm" && node.type != "Conv") continue;
    // Every output of a filter or unit costs a multiplication and an addition per weight of that filter.
    const Shape& weight = graph.layout.tensors()[node.parameters.front()].shape;
    const Shape& output = graph.values[node.output].shape;
    const double forward = 2.0 * static_cast<double>(element_count(output)) *
                           static_cast<double>(element_count(weight) / weight.front());
    const bool data_gradient = needs_gradient[node.inputs.front()];
    total += forward * (data_gradient ? 3 : 2);
  }
  return total;
}

namespace {

using Row = std::array<std::string, 4>;

Row row_of(const Graph& graph, const Node& node) {
  int64_t parameters = 0;
  for (const int tensor : node.parameters) {
    const ArenaTensor& entry = graph.layout.tensors()[tensor];
    if (entry.role == TensorRole::parameter) parameters += entry.count;
  }
  return {node.name, node.type, shape_text(graph.values[node.output].shape),
          parameters == 0 ? "" : std::to_string(parameters)};
}

}  // namespace

std::string describe(const Graph& graph) {
  std::vector<Row> rows = {{"layer", "operator", "output", "parameters"}};
  rows.push_back({"input", "", shape_text(graph.input_shape()), ""});
  for (const Node& node : graph.nodes) rows.push_back(row_of(graph, node));
  rows.push_back({"total", "", "", std::to_string(graph.layout.parameter_count())});
  std::array<size_t, 4> widths{};
  for (const Row& row : rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string text;
  for (const Row& row : rows) {
    for (size_t c = 0; c + 1 < row.size(); ++c)
      text += row[c] + std::string(widths[c] - row[c].size() + 2, ' ');
    text += std::string(widths[3] - row[3].size(), ' ') + row[3] + "\n";
  }
  return text;
}

}  // namespace lepton::model
