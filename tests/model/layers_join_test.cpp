// SPDX-License-Identifier: Apache-2.0
// Layers that join several outputs. What they may read: layer_lists_test.
#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

TEST(LayersJoin, AddSumsFromLeftToRight) {
  const std::vector<std::string> from = {"input", "relu_1", "tanh_1", "sigmoid_1"};
  Bench bench(graph_of({3}, {layer("relu"), layer("tanh", {{"from", "input"}}),
                             layer("sigmoid", {{"from", "input"}}), layer("add", {{"from", from}})}),
              {}, {2});
  const std::vector<float> sums = bench.forward(2, false);
  bench.fill_input(2, false);
  const std::span<const float> input = bench.executor.input(2, false);
  for (size_t i = 0; i < sums.size(); ++i) {
    const double x = static_cast<double>(input[i]);
    EXPECT_NEAR(static_cast<double>(sums[i]), x + std::max(x, 0.0) + std::tanh(x) + 1 / (1 + std::exp(-x)),
                1e-6);
  }
}

TEST(LayersJoin, AddHasAnActivation) {
  const std::vector<std::string> from = {"dense_1", "input"};
  const Graph graph =
      graph_of({4}, {layer("dense", {{"units", 4}}), layer("add", {{"from", from}, {"activation", "relu"}})});
  EXPECT_EQ(graph.nodes.back().name, "add_1.relu");
  EXPECT_EQ(graph.nodes.back().inputs.front(), node_named(graph, "add_1").output);
  expect_deck_error(
      network({4}, {layer("dense", {{"units", 4}}), layer("add", {{"from", from}, {"activation", "rel"}})}),
      "deck.toml:2:101", {"Did you mean \"relu\""});
}

TEST(LayersJoin, MultiplyIsElementByElement) {
  const std::vector<std::string> from = {"input", "tanh_1", "sigmoid_1"};
  Bench bench(graph_of({3}, {layer("tanh"), layer("sigmoid", {{"from", "input"}}),
                             layer("multiply", {{"from", from}})}),
              {}, {2});
  const std::vector<float> products = bench.forward(2, false);
  bench.fill_input(2, false);
  const std::span<const float> input = bench.executor.input(2, false);
  for (size_t i = 0; i < products.size(); ++i) {
    const double x = static_cast<double>(input[i]);
    EXPECT_NEAR(static_cast<double>(products[i]), x * std::tanh(x) / (1 + std::exp(-x)), 1e-6);
  }
}

TEST(LayersJoin, ConcatIsAlongChannelsOrTheLastDimension) {
  const std::vector<std::string> from = {"relu_1", "input"};
  const auto joined = [&](const Shape& input, Options options) {
    options.insert(options.begin(), {"from", from});
    return output_of(graph_of(input, {layer("relu"), layer("concat", options), layer("flatten")}),
                     "concat_1");
  };
  EXPECT_EQ(joined({3, 4, 5}, {}), (Shape{6, 4, 5}));
  EXPECT_EQ(joined({3, 4}, {}), (Shape{3, 8}));
  EXPECT_EQ(joined({3}, {}), (Shape{6}));
  EXPECT_EQ(joined({3, 4}, {{"axis", 1}}), (Shape{6, 4}));
  EXPECT_EQ(joined({3, 4, 5}, {{"axis", -2}}), (Shape{3, 8, 5}));
  const auto refused = [&](const Shape& input, int64_t axis) {
    return network(input, {layer("relu"), layer("concat", {{"from", from}, {"axis", axis}})});
  };
  expect_deck_error(refused({3}, 0), "deck.toml:2:101", {"axis = 0 is the batch dimension"});
  expect_deck_error(refused({3}, 2), "deck.toml:2:5", {"Concat has no axis 2"});
}

}  // namespace lepton::model
