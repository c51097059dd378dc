// SPDX-License-Identifier: Apache-2.0
// Plans: what is fused, what works in place, how gradients of shared values are gathered, and that liveness
// on random graphs never changes a number (against a plan where nothing shares memory).
#include "model/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/networks.h"

namespace lepton::model {

namespace {

std::vector<std::string> step_names(const Graph& graph, bool training = true) {
  ops::prepare_compute_thread();
  Plan plan(graph, 1, 2, training);
  std::vector<std::string> names;
  for (const Step& step : plan.steps()) names.push_back(graph.nodes[static_cast<size_t>(step.node)].name);
  return names;
}

}  // namespace

TEST(Plan, FusesActivationsThatNobodyElseReads) {
  const Graph graph = graph_of(
      {4}, {dense(4, {{"activation", "relu"}}), dense(4), layer("tanh"), dense(4), layer("softmax")});
  EXPECT_EQ(step_names(graph), (std::vector<std::string>{"dense_1", "dense_2", "dense_3", "softmax_1"}));
}

TEST(Plan, ReluGoesBehindTheMaxPoolThatAloneReadsIt) {
  const LayerSpec conv =
      layer("conv2d", {{"filters", 4}, {"kernel", 3}, {"padding", 1}, {"activation", "relu"}});
  const Graph graph = graph_of({3, 8, 8}, {conv, layer("max_pool2d"), conv, layer("flatten"), dense(5)});
  EXPECT_EQ(step_names(graph),
            (std::vector<std::string>{"conv2d_1", "max_pool2d_1", "conv2d_2", "flatten_1", "dense_1"}));
  ops::prepare_compute_thread();
  Plan plan(graph, 1, 2, true);
  EXPECT_FALSE(plan.steps()[0].op->backward_needs().output);  // no Relu in it
  EXPECT_TRUE(plan.steps()[2].op->backward_needs().output);
}

TEST(Plan, DoesNotFuseWhatAResidualReads) {
  // The residual's shortcut reads dense_1 before the activation that is the branch's first layer.
  const Graph graph =
      graph_of({4}, {dense(4), residual({layer("relu"), dense(4)}, {}, {{"activation", "relu"}})});
  EXPECT_EQ(step_names(graph), (std::vector<std::string>{"dense_1", "residual_1.relu_1", "residual_1.dense_1",
                                                         "residual_1.add"}));
}

TEST(Plan, BackwardStopsAtTheFirstParameter) {
  ops::prepare_compute_thread();
  const Graph graph = graph_of({1, 4, 4}, {layer("flatten"), layer("tanh"), dense(4), layer("tanh")});
  Plan plan(graph, 1, 2, true);
  for (const Step& step : plan.steps()) EXPECT_EQ(step.backward, step.node >= 2) << step.node;
  Plan inference(graph, 1, 2, false);
  for (const Step& step : inference.steps()) EXPECT_FALSE(step.backward);
}

TEST(Plan, SharedValuesGatherTheirGradients) {
  ops::prepare_compute_thread();
  const Graph graph = graph_of({4}, {dense(4), residual({dense(4)}), residual({dense(4)})});
  Plan plan(graph, 1, 2, true);
  size_t additions = 0;
  for (const Step& step : plan.steps()) additions += step.additions.size();
  EXPECT_EQ(additions, 2U);
}

TEST(Plan, InferenceNeedsLessMemory) {
  ops::prepare_compute_thread();
  std::vector<LayerSpec> layers;
  for (int i = 0; i < 8; ++i) layers.push_back(dense(64, {{"activation", "tanh"}}));
  const Graph graph = graph_of({64}, layers);
  const Plan training(graph, 1, 32, true), inference(graph, 1, 32, false);
  EXPECT_GE(training.bytes(), 9U * 32 * 64 * 4);
  EXPECT_LT(inference.bytes(), training.bytes() / 2);
}

TEST(Plan, ArraysOfOneMomentNeverOverlap) {
  ops::prepare_compute_thread();
  const Graph graph = graph_of(
      {3, 8, 8}, {layer("conv2d", {{"filters", 4}, {"kernel", 3}, {"padding", 1}, {"activation", "relu"}}),
                  residual({layer("batch_norm"), layer("relu"),
                            layer("conv2d", {{"filters", 4}, {"kernel", 3}, {"padding", 1}})}),
                  layer("max_pool2d"), layer("dropout"), layer("flatten"), dense(5)});
  const Plan plan(graph, 1, 3, true);
  const auto ranges = plan.ranges();
  const auto& offsets = plan.memory().offsets;
  for (size_t a = 0; a < ranges.size(); ++a)
    for (size_t b = 0; b < a; ++b) {
      const bool together = ranges[a].begin <= ranges[b].end && ranges[b].begin <= ranges[a].end;
      const bool apart =
          offsets[a] + ranges[a].bytes <= offsets[b] || offsets[b] + ranges[b].bytes <= offsets[a];
      EXPECT_TRUE(!together || apart) << a << " and " << b;
    }
}

/// Runs a plan step by step and fills every byte that no live range covers with NaN before each step:
/// whatever a step reads must be alive, or the numbers change.
class Poisoner {
 public:
  Poisoner(const Graph& graph, int64_t n)
      : graph_(graph), plan_(graph, 5, n, true), workspace_({}, plan_.bytes(), "test") {
    plan_.bind(workspace_.data());
  }

  std::vector<float> run(const std::vector<float>& arena, const std::vector<int64_t>& ids, bool poison) {
    const uint32_t number = 4;
    const ops::UnitContext unit{ids, &number};
    const std::span<float> input = plan_.value(0);
    for (size_t i = 0; i < input.size(); ++i) input[i] = noise(11, static_cast<int64_t>(i));
    const int steps = static_cast<int>(plan_.steps().size());
    std::vector<float> out;
    for (int time = 0; time < steps; ++time) {
      if (poison) fill_dead(time);
      plan_.run_forward(plan_.steps()[static_cast<size_t>(time)], arena.data(), unit);
    }
    if (poison) fill_dead(steps);
    const std::span<float> gradient = plan_.scores_gradient();
    for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = noise(13, static_cast<int64_t>(i));
    for (int time = steps + 1; time <= 2 * steps; ++time) {
      Step& step = plan_.steps()[static_cast<size_t>(2 * steps - time)];
      if (!step.backward) continue;
      if (poison) fill_dead(time);
      plan_.run_backward(step, arena.data(), unit);
      keep(step, out);
    }
    const std::span<float> scores = plan_.value(graph_.nodes.back().output);
    out.insert(out.end(), scores.begin(), scores.end());
    return out;
  }

 private:
  void keep(const Step& step, std::vector<float>& out) const {
    size_t statistic = 0;
    for (size_t k = 0; k < step.parameters.size(); ++k) {
      const float* values = step.parameter_gradient_pointers[k];
      if (values == nullptr) values = step.statistics_pointers[statistic++];
      out.insert(out.end(), values,
                 values + graph_.layout.tensors()[static_cast<size_t>(step.parameters[k])].count);
    }
  }

  /// Ranges that begin now hold nothing yet, except that the input is there at time 0. Scratch (the last
  /// range) and parameter gradients (loss to end) have a place for the whole run but hold nothing from step
  /// to step.
  void fill_dead(int time) {
    std::vector<bool> alive(workspace_.bytes(), false);
    for (size_t r = 0; r < plan_.ranges().size(); ++r) {
      const LiveRange& range = plan_.ranges()[r];
      const int steps = static_cast<int>(plan_.steps().size());
      const bool reused = r + 1 == plan_.ranges().size() || (range.begin == steps && range.end == 2 * steps);
      const bool holds = (range.begin < time && !reused) || (time == 0 && r == 0);
      if (holds && time <= range.end)
        std::fill_n(alive.begin() + static_cast<std::ptrdiff_t>(plan_.memory().offsets[r]), range.bytes,
                    true);
    }
    for (size_t i = 0; i < alive.size(); ++i)
      if (!alive[i]) workspace_.data()[i] = std::byte{0xff};  // 0xffffffff is a NaN
  }

  const Graph& graph_;
  Plan plan_;
  Buffer workspace_;
};

LayerSpec random_layer(uint32_t& state, int depth) {
  const auto pick = [&](uint32_t n) { return (state = state * 1664525u + 1013904223u) / 65536u % n; };
  switch (pick(depth > 1 ? 9 : 11)) {
    case 0:
      return dense(6, {{"activation", "relu"}});
    case 1:
      return dense(6);
    case 2:
      return layer("batch_norm");
    case 3:
      return layer("tanh");
    case 4:
      return layer("gelu");
    case 5:
      return layer("dropout", {{"rate", 0.25}});
    case 6:
      return layer("layer_norm");
    case 7:
      return layer("mish");
    case 8:
      return layer("rms_norm");
    default:
      break;
  }
  std::vector<LayerSpec> inner, projection;
  for (uint32_t i = 0; i <= pick(3); ++i) inner.push_back(random_layer(state, depth + 1));
  if (pick(2) == 0) projection.push_back(random_layer(state, depth + 1));
  Options options;
  if (pick(2) == 0) options.emplace_back("activation", "leaky_relu");
  return residual(inner, projection, options);
}

TEST(Plan, LivenessOnRandomGraphsChangesNothing) {
  ops::prepare_compute_thread();
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    uint32_t state = seed;
    std::vector<LayerSpec> layers;
    for (int i = 0; i < 6; ++i) layers.push_back(random_layer(state, 0));
    layers.push_back(dense(6));
    const Graph graph = graph_of({6}, layers);
    std::vector<float> arena(static_cast<size_t>(graph.layout.elements()));
    initialise(graph, seed, 0, static_cast<int>(graph.layout.tensors().size()), arena);
    const std::vector<int64_t> ids = {4, 8, 15, 16, 23};
    const std::vector<float> plain = Poisoner(graph, 5).run(arena, ids, false);
    const std::vector<float> poisoned = Poisoner(graph, 5).run(arena, ids, true);
    ASSERT_EQ(plain.size(), poisoned.size());
    EXPECT_EQ(std::memcmp(plain.data(), poisoned.data(), plain.size() * sizeof(float)), 0)
        << "seed " << seed << "\n"
        << describe(graph);
    for (const float value : plain) ASSERT_TRUE(std::isfinite(value)) << "seed " << seed;
  }
}

}  // namespace lepton::model
