// SPDX-License-Identifier: Apache-2.0
// What the tests of model share: decks written as C++ literals, the error that a deck gives, and a bench that
// runs a network on fixed numbers and keeps what comes out, or compares its gradients with differences.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/philox.h"
#include "model/executor.h"
#include "model/graph.h"
#include "model/initialise.h"
#include "ops/table.h"

namespace lepton::model {

using List = std::vector<int64_t>;
using Options = std::vector<std::pair<std::string, OptionValue>>;

/// A layer whose options stand in columns 100, 101, ... of one line.
inline LayerSpec layer(const std::string& type, const Options& options = {}) {
  LayerSpec spec;
  spec.type = type;
  spec.position = {"deck.toml", 1, 5};
  int column = 100;
  for (const auto& [name, value] : options) spec.options[name] = {value, {"deck.toml", 1, column++}};
  return spec;
}

inline LayerSpec dense(int64_t units, const Options& more = {}) {
  Options options = {{"units", units}};
  options.insert(options.end(), more.begin(), more.end());
  return layer("dense", options);
}

inline LayerSpec residual(std::vector<LayerSpec> layers, std::vector<LayerSpec> projection = {},
                          const Options& options = {}) {
  LayerSpec spec = layer("residual", options);
  spec.nested["layers"] = std::move(layers);
  if (!projection.empty()) spec.nested["projection"] = std::move(projection);
  return spec;
}

/// Layer i stands in line i + 1.
inline ModelSpec network(Shape input, std::vector<LayerSpec> layers, int64_t outputs = 0) {
  ModelSpec spec;
  spec.input = std::move(input);
  spec.outputs = outputs;
  spec.position = {"deck.toml", 99, 1};
  spec.layers = std::move(layers);
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const int line = static_cast<int>(i) + 1;
    spec.layers[i].position.line = line;
    for (auto& [name, option] : spec.layers[i].options) option.position.line = line;
  }
  return spec;
}

inline Graph graph_of(Shape input, std::vector<LayerSpec> layers) {
  ModelSpec spec = network(std::move(input), std::move(layers));
  spec.positions = 0;
  return build_graph(spec);
}

inline const Node& node_named(const Graph& graph, const std::string& name) {
  for (const Node& node : graph.nodes)
    if (node.name == name) return node;
  throw std::runtime_error("no node " + name + "\n" + describe(graph));
}

inline const Shape& output_of(const Graph& graph, const std::string& name) {
  return graph.values[static_cast<size_t>(node_named(graph, name).output)].shape;
}

inline int tensor_named(const Graph& graph, const std::string& name) {
  const auto& tensors = graph.layout.tensors();
  for (size_t i = 0; i < tensors.size(); ++i)
    if (tensors[i].name == name) return static_cast<int>(i);
  throw std::runtime_error("no tensor " + name);
}

inline const ArenaTensor& arena_tensor(const Graph& graph, const std::string& name) {
  return graph.layout.tensors()[static_cast<size_t>(tensor_named(graph, name))];
}

inline const Node& first_node(const Graph& graph) {
  return graph.nodes.front();
}

/// Builds the graph and expects Error(deck) at `where` whose text holds every one of `pieces`.
inline void expect_deck_error(const ModelSpec& spec, const std::string& where,
                              const std::vector<std::string>& pieces) {
  try {
    build_graph(spec);
    ADD_FAILURE() << "no error, but expected: " << pieces.front();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck) << error.what();
    EXPECT_EQ(error.where(), where) << error.what();
    for (const std::string& piece : pieces)
      EXPECT_NE(std::string(error.what()).find(piece), std::string::npos)
          << "\"" << piece << "\" is missing in:\n"
          << error.what();
  }
}

/// Numbers in [-1, 1) that depend on (seed, i) alone.
inline float noise(uint64_t seed, int64_t i) {
  return 2 * uniform01(philox4x32(seed, {static_cast<uint32_t>(i), 0, 0, 0})[0]) - 1;
}

/// Of several contributions to a tensor it keeps the sum.
class KeepingSink : public GradientSink {
 public:
  void gradient(int tensor, int64_t first, std::span<const float> values) override {
    std::vector<float>& whole = gradients[tensor];
    if (order.empty() || order.back() != tensor || first < std::ssize(whole)) {
      order.push_back(tensor);
      add(tensor);
      whole.clear();
    }
    const auto gap = first - static_cast<int64_t>(whole.size());
    EXPECT_GE(gap, 0) << "in order";
    skipped[tensor] += gap;
    whole.resize(static_cast<size_t>(first), 0.0F);
    whole.insert(whole.end(), values.begin(), values.end());
  }
  /// Of rows that the unit did not touch, between and behind the others.
  void zero_gradient(int tensor, int64_t count) override {
    EXPECT_GE(count, skipped[tensor]);
    gradients[tensor].resize(gradients[tensor].size() + static_cast<size_t>(count - skipped[tensor]), 0.0F);
    skipped[tensor] = 0;
  }
  /// When all have been handed on.
  void finish() {
    for (auto& [tensor, whole] : gradients) {
      add(tensor);
      whole = earlier[tensor];
    }
  }
  std::map<int, int64_t> skipped;  ///< not yet told to be zero
  std::map<int, std::vector<float>> earlier;
  std::vector<int> order;
  std::map<int, std::vector<float>> gradients;

 private:
  void add(int tensor) {
    const std::vector<float>& from = gradients[tensor];
    std::vector<float>& to = earlier[tensor];
    to.resize(std::max(to.size(), from.size()), 0.0F);
    for (size_t i = 0; i < from.size(); ++i) to[i] += from[i];
  }
};

/// A network on fixed inputs; its "loss" is a fixed random linear functional of the scores.
class Bench {
 public:
  Bench(Graph graph, std::vector<int64_t> training, std::vector<int64_t> inference = {}, uint64_t seed = 5)
      : graph_(std::move(graph)),
        arena(static_cast<size_t>(graph_.layout.elements())),
        executor((ops::prepare_compute_thread(), graph_), seed, training, inference) {
    initialise(graph_, seed, 0, static_cast<int>(graph_.layout.tensors().size()), arena);
    for (size_t i = 0; i < arena.size(); ++i)  // biases and scales at 0 and 1 would hide errors
      arena[i] += 0.1F * noise(77, static_cast<int64_t>(i)) * noise(77, static_cast<int64_t>(i));
  }

  const Graph& graph() const { return graph_; }

  std::vector<int64_t> ids(int64_t n) const {
    std::vector<int64_t> list(static_cast<size_t>(n));
    for (size_t i = 0; i < list.size(); ++i) list[i] = 1000 + 3 * static_cast<int64_t>(i);
    return list;
  }

  void fill_input(int64_t n, bool training) {
    const std::span<float> input = executor.input(n, training);
    const auto rows = static_cast<float>(table_rows(graph_).safe);
    for (size_t i = 0; i < input.size(); ++i) {
      input[i] = noise(11, static_cast<int64_t>(i));
      if (rows > 0) input[i] = std::floor((input[i] + 1) / 2 * rows);
    }
    for (size_t k = 1; k < graph_.inputs.size(); ++k) {
      const auto longest = static_cast<float>(longest_length(graph_, graph_.inputs[k]));
      const std::span<float> more = executor.input(static_cast<int>(k), n, training);
      for (size_t i = 0; i < more.size(); ++i) {
        more[i] = noise(17 + k, static_cast<int64_t>(i));
        if (longest > 0) more[i] = 1 + std::floor((more[i] + 1) / 2 * longest);
      }
    }
  }

  std::vector<float> forward(int64_t n, bool training, uint32_t step = 4) {
    fill_input(n, training);
    const auto scores = executor.forward(n, training, arena.data(), ids(n), step);
    return {scores.begin(), scores.end()};
  }

  double loss(int64_t n) {
    const std::vector<float> scores = forward(n, true);
    double sum = 0;
    for (size_t i = 0; i < scores.size(); ++i)
      sum += static_cast<double>(scores[i]) * noise(13, static_cast<int64_t>(i));
    return sum;
  }

  void fill_output_gradient(int64_t n) {
    const std::span<float> gradient = executor.output_gradient(n);
    for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = noise(13, static_cast<int64_t>(i));
  }

  KeepingSink backward(int64_t n) {
    loss(n);
    fill_output_gradient(n);
    KeepingSink sink;
    executor.backward(n, arena.data(), ids(n), 4, sink);
    sink.finish();
    return sink;
  }

 private:
  Graph graph_;

 public:
  std::vector<float> arena;
  Executor executor;
};

/// Of all that learns: <gradient, direction> against the central difference of the loss along random
/// directions, with one step of Richardson's extrapolation.
inline void expect_gradients(Bench& bench, int64_t n, double tolerance) {
  const KeepingSink sink = bench.backward(n);
  const std::vector<float> origin = bench.arena;
  const auto& tensors = bench.graph().layout.tensors();
  for (size_t t = 0; t < tensors.size(); ++t) {
    EXPECT_NE(sink.gradients.contains(static_cast<int>(t)), tensors[t].frozen) << tensors[t].name;
    if (tensors[t].role == TensorRole::statistic || tensors[t].frozen) continue;
    const auto begin = static_cast<size_t>(tensors[t].offset), count = static_cast<size_t>(tensors[t].count);
    const std::vector<float>& gradient = sink.gradients.at(static_cast<int>(t));
    ASSERT_EQ(gradient.size(), count);
    for (uint64_t trial = 0; trial < 3; ++trial) {
      double slope = 0, size = 0;
      std::vector<float> direction(count);
      for (size_t i = 0; i < count; ++i) {
        direction[i] = noise(1000 * t + trial, static_cast<int64_t>(i));
        slope += static_cast<double>(gradient[i]) * direction[i];
        size += static_cast<double>(gradient[i]) * gradient[i];
      }
      const auto loss_at = [&](float h) {
        for (size_t i = 0; i < count; ++i) bench.arena[begin + i] = origin[begin + i] + h * direction[i];
        const double loss = bench.loss(n);
        bench.arena = origin;
        return loss;
      };
      const auto difference = [&](float h) {
        return (loss_at(h) - loss_at(-h)) / (2 * static_cast<double>(h));
      };
      const double measured = (4 * difference(0.0078125F) - difference(0.015625F)) / 3;
      EXPECT_NEAR(slope, measured, tolerance * (std::sqrt(size) + 0.05))
          << tensors[t].name << " trial " << trial;
    }
  }
}

}  // namespace lepton::model
