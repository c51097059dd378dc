// SPDX-License-Identifier: Apache-2.0
// What can be read off a finished graph: where gradients are needed, what a sample costs, and the table that
// `check` and `inspect` print.
#include "model/graph.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <set>
#include <string_view>

#include "ops/attention_shape.h"
#include "ops/recurrent_shape.h"
#include "ops/remap.h"

namespace lepton::model {

std::vector<bool> values_needing_gradient(const Graph& graph) {
  std::vector<bool> needs(graph.values.size(), false);
  for (const Node& node : graph.nodes) {
    bool any = false;
    for (const int tensor : node.parameters) {
      const ArenaTensor& entry = graph.layout.tensors()[tensor];
      any = any || (entry.role == TensorRole::parameter && !entry.frozen);
    }
    for (const int input : node.inputs) any = any || needs[input];
    needs[node.output] = any;
  }
  return needs;
}

int64_t gradient_elements(const Graph& graph) {
  int64_t elements = 0;
  for (const Node& node : graph.nodes)
    for (const int tensor : node.parameters) {
      const ArenaTensor& entry = graph.layout.tensors()[tensor];
      if (!entry.frozen) elements += entry.count;
    }
  return elements;
}

int64_t contributions_most(const Graph& graph) {
  std::vector<int64_t> nodes(graph.layout.tensors().size(), 0);
  int64_t most = 1;
  for (const Node& node : graph.nodes)
    for (const int tensor : node.parameters) most = std::max(most, ++nodes[tensor]);
  return most;
}

std::vector<std::string> unused_parameters(const Graph& graph) {
  std::vector<std::string> names;
  const auto& tensors = graph.layout.tensors();
  for (size_t t = 0; t < tensors.size(); ++t) {
    const auto has = [&](const Node& node) {
      return std::ranges::count(node.parameters, static_cast<int>(t)) > 0;
    };
    if (!tensors[t].frozen && std::ranges::none_of(graph.nodes, has)) names.push_back(tensors[t].name);
  }
  return names;
}

std::optional<int> find_input(const Graph& graph, const std::string& name) {
  for (const int input : graph.inputs)
    if (graph.values[input].name == name) return input;
  return std::nullopt;
}

int64_t longest_length(const Graph& graph, int input) {
  constexpr std::string_view ending = ".length";
  const std::string& name = graph.values[input].name;
  if (!name.ends_with(ending)) return 0;
  const std::optional<int> values = find_input(graph, name.substr(0, name.size() - ending.size()));
  return values ? graph.values[*values].shape.front() : 0;
}

/// How an input's numbers reach a value.
enum class Way { none, whole, parted, computed };

static Way way_through(const Node& node, Way way) {
  static const std::set<std::string> moves = {"Flatten", "Identity",  "Reshape",
                                              "Squeeze", "Transpose", "Unsqueeze"};
  if (way == Way::none || moves.contains(node.type)) return way;
  return node.type == "Slice" && way != Way::computed ? Way::parted : Way::computed;
}

static ops::OpSpec spec_of(const Graph& graph, const Node& node) {
  ops::OpSpec spec;
  spec.type = node.type;
  spec.attributes = node.attributes;
  for (const int input : node.inputs) spec.inputs.push_back(graph.values[input].shape);
  for (const int tensor : node.parameters) spec.parameters.push_back(graph.layout.tensors()[tensor].shape);
  return spec;
}

/// Of the elements of an input [F], those of a value that is a part of it, in order; empty: not known.
static std::vector<int64_t> elements_of(const Graph& graph, const Node& node,
                                        const std::vector<int64_t>& before) {
  if (node.type == "Transpose") return {};
  if (before.empty() || node.type != "Slice") return before;
  const std::vector<ops::AxisRule> rules = ops::axis_rules(spec_of(graph, node));
  std::vector<int64_t> part;
  if (rules.size() != 1) return part;
  for (int64_t k = 0; k < rules[0].out; ++k)
    part.push_back(before[static_cast<size_t>(rules[0].start + k * rules[0].step)]);
  return part;
}

TableRows table_rows(const Graph& graph, int input) {
  std::vector<Way> ways(graph.values.size(), Way::none);
  std::vector<std::vector<int64_t>> elements(graph.values.size());
  ways[input] = Way::whole;
  if (graph.values[input].shape.size() == 1) {
    elements[input].resize(static_cast<size_t>(graph.values[input].shape.front()));
    std::iota(elements[input].begin(), elements[input].end(), 0);
  }
  constexpr int64_t none = INT64_MAX;
  int64_t least = none, whole = none;
  std::vector<int64_t> columns(elements[input].size(), 0);
  for (const Node& node : graph.nodes) {
    Way way = Way::none;
    for (const int from : node.inputs) way = std::max(way, ways[from]);
    if (way == Way::none) continue;
    const std::vector<int64_t>& here = elements[node.inputs.front()];
    if (node.type != "Gather") {
      ways[node.output] = way_through(node, way);
      if (ways[node.output] != Way::computed) elements[node.output] = elements_of(graph, node, here);
      continue;
    }
    const int64_t rows = graph.layout.tensors()[node.parameters.front()].shape.front();
    least = std::min(least, way == Way::computed ? 1 : rows);
    if (way == Way::whole) whole = std::min(whole, rows);
    for (const int64_t element : here) {
      int64_t& limit = columns[static_cast<size_t>(element)];
      limit = limit == 0 ? rows : std::min(limit, rows);
    }
  }
  if (least == none) return {};
  if (whole != none) return {least, whole};
  const bool none_known = std::ranges::all_of(columns, [](int64_t limit) { return limit == 0; });
  return {least, 0, none_known ? std::vector<int64_t>{} : columns};
}

bool is_mask(const Graph& graph, int input) {
  return std::ranges::any_of(graph.nodes, [&](const Node& node) {
    return node.type == "Attention" && node.inputs.back() == input &&
           ops::AttentionShape(spec_of(graph, node)).mask;
  });
}

/// Scores and what is gathered by them; of causal attention half.
static double attention_flops(const Graph& graph, const Node& node) {
  const ops::AttentionShape shape(spec_of(graph, node));
  const auto pairs = static_cast<double>(shape.heads * shape.queries * shape.keys) / (shape.causal ? 2 : 1);
  return 2 * pairs * static_cast<double>(shape.size + shape.value_size);
}

/// The products with W and R at every step; all of R's are needed again for gradients, of W's two or three.
static double recurrent_flops(const Graph& graph, const Node& node, bool data_gradient) {
  const ops::RecurrentShape shape(spec_of(graph, node));
  const auto rows = static_cast<double>(shape.directions * shape.steps * shape.width());
  return 2 * rows *
         (static_cast<double>(shape.inputs) * (data_gradient ? 3 : 2) + static_cast<double>(shape.units) * 3);
}

double training_flops_per_sample(const Graph& graph) {
  const std::vector<bool> needs_gradient = values_needing_gradient(graph);
  double total = 0;
  for (const Node& node : graph.nodes) {
    if (node.type == "Attention")
      total += attention_flops(graph, node) * (needs_gradient[node.output] ? 3 : 1);
    if (node.type == "RNN" || node.type == "LSTM" || node.type == "GRU")
      total += recurrent_flops(graph, node, needs_gradient[node.inputs.front()]);
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
    total += forward * (!needs_gradient[node.output] ? 1 : data_gradient ? 3 : 2);
  }
  return total;
}

namespace {

using Row = std::array<std::string, 4>;

/// Parameters count where they first appear.
Row row_of(const Graph& graph, const Node& node, std::vector<bool>& counted) {
  int64_t parameters = 0;
  for (const int tensor : node.parameters) {
    const ArenaTensor& entry = graph.layout.tensors()[tensor];
    if (entry.role == TensorRole::parameter && !counted[tensor]) parameters += entry.count;
    counted[tensor] = true;
  }
  return {node.name, node.type, shape_text(graph.values[node.output].shape),
          parameters == 0 ? "" : std::to_string(parameters)};
}

}  // namespace

std::string describe(const Graph& graph) {
  std::vector<Row> rows = {{"layer", "operator", "output", "parameters"}};
  for (const int input : graph.inputs)
    rows.push_back({graph.values[input].name, "", shape_text(graph.values[input].shape), ""});
  std::vector<bool> counted(graph.layout.tensors().size(), false);
  for (const Node& node : graph.nodes) rows.push_back(row_of(graph, node, counted));
  rows.push_back({"total", "", "", std::to_string(graph.layout.parameter_count())});
  int64_t frozen = 0;
  for (const ArenaTensor& entry : graph.layout.tensors())
    if (entry.frozen && entry.role == TensorRole::parameter) frozen += entry.count;
  if (frozen > 0) rows.push_back({"frozen of them", "", "", std::to_string(frozen)});
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
