// SPDX-License-Identifier: Apache-2.0
// Building graphs by hand, as an importer would.
#include "model/graph_builder.h"

#include <gtest/gtest.h>

#include "model/networks.h"

namespace lepton::model {

TEST(GraphBuilder, StatisticsStandBehindAllParameters) {
  GraphBuilder builder({4});
  EXPECT_TRUE(builder.set_statistics_momentum(0.75));
  EXPECT_TRUE(builder.set_statistics_momentum(0.75));
  EXPECT_FALSE(builder.set_statistics_momentum(0.5));
  const int scale = builder.add_parameter("n.weight", {4}, {.kind = Initialiser::Kind::ones});
  const int bias = builder.add_parameter("n.bias", {4}, {});
  const int mean = builder.add_statistic("n.running_mean", {4}, Initialiser::Kind::zeros);
  const int variance = builder.add_statistic("n.running_var", {4}, Initialiser::Kind::ones);
  const int value = builder.add_node("BatchNormalization", "n", {}, {0}, {scale, bias, mean, variance}, {});
  const int weight = builder.add_parameter("d.weight", {3, 4}, {}, true, 0.5);
  builder.add_node("Gemm", "d", {{"transB", int64_t{1}}}, {value}, {weight}, {});
  const Graph graph = builder.finish();
  EXPECT_EQ(graph.nodes[0].parameters, (std::vector<int>{0, 1, 3, 4}));
  EXPECT_EQ(graph.nodes[1].parameters, (std::vector<int>{2}));
  EXPECT_EQ(graph.layout.tensors()[3].name, "n.running_mean");
  EXPECT_EQ(graph.layout.tensors()[4].role, TensorRole::statistic);
  EXPECT_EQ(graph.statistics_momentum, 0.75);
  EXPECT_EQ(graph.initialisers.size(), 5U);
  EXPECT_EQ(graph.layout.tensors()[2].l2, 0.5);
  EXPECT_FALSE(graph.layout.segments().empty());  // the layout is finished
}

TEST(GraphBuilder, SeveralInputsByName) {
  const std::vector<NamedShape> inputs = {
      {"title", {5}}, {"body", {3, 4}}, {"title.length", {1}}, {"x.length", {1}}};
  GraphBuilder builder{std::span(inputs)};
  EXPECT_EQ(builder.inputs(), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(builder.input("body"), 1);
  EXPECT_EQ(builder.input("other"), std::nullopt);
  EXPECT_EQ(builder.shape(1), (Shape{3, 4}));
  const int table = builder.add_parameter("t.weight", {7, 2}, {});
  builder.add_node("Gather", "t", {}, {0}, {table}, {});
  const Graph graph = builder.finish();
  EXPECT_EQ(graph.inputs, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(graph.input_shape(), (Shape{5}));
  EXPECT_EQ(find_input(graph, "title.length"), 2);
  EXPECT_EQ(find_input(graph, "t"), std::nullopt) << "a node is no input";
  EXPECT_EQ(table_rows(graph, 0).below, 7);
  EXPECT_EQ(table_rows(graph, 1).safe, 0);
  EXPECT_EQ(longest_length(graph, 2), 5);
  EXPECT_EQ(longest_length(graph, 0), 0);
  EXPECT_EQ(longest_length(graph, 3), 0) << "of no input";
  EXPECT_NE(describe(graph).find("body"), std::string::npos);
  EXPECT_NE(describe(graph).find("[3, 4]"), std::string::npos);
}

TEST(GraphBuilder, KeepsWhatTheScoresDependOn) {
  GraphBuilder builder({4});
  const int first = builder.add_node("Relu", "first", {}, {0}, {}, {});
  builder.add_node("Tanh", "dead", {}, {first}, {}, {});
  const int scores = builder.add_node("Sigmoid", "scores", {}, {first}, {}, {});
  builder.add_node("Exp", "behind", {}, {scores}, {}, {});
  builder.keep_for(scores);
  const Graph graph = builder.finish();
  ASSERT_EQ(graph.nodes.size(), 2U);
  EXPECT_EQ(graph.nodes[0].name, "first");
  EXPECT_EQ(graph.values.size(), 3U);
  EXPECT_EQ(graph.nodes[1].inputs, std::vector<int>{graph.nodes[0].output});
  EXPECT_EQ(graph.values[static_cast<size_t>(graph.nodes[1].output)].name, "scores");
  EXPECT_TRUE(unused_parameters(graph).empty());
}

TEST(GraphBuilder, OneInputIsCalledInput) {
  EXPECT_EQ(GraphBuilder({4}).input("input"), 0);
}

TEST(GraphBuilder, OperatorsRefusalsNameTheLayer) {
  GraphBuilder builder({3, 4, 4});
  const int other = builder.add_node("Flatten", "flat", {}, {0}, {}, {});
  try {
    builder.add_node("Add", "sum", {}, {0, other}, {}, {"deck.toml", 7, 3});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::deck);
    EXPECT_EQ(error.where(), "deck.toml:7:3");
    EXPECT_NE(error.problem().find("layer \"sum\""), std::string::npos) << error.what();
    EXPECT_NE(error.problem().find("[3, 4, 4]"), std::string::npos) << error.what();
    EXPECT_NE(error.problem().find("[48]"), std::string::npos) << error.what();
  }
}

TEST(GraphBuilder, TooLarge) {
  EXPECT_FALSE(too_large({1 << 20, 1 << 20}));
  EXPECT_TRUE(too_large({1 << 20, 1 << 21}));
  EXPECT_TRUE(too_large({int64_t{1} << 40, int64_t{1} << 40}));
  expect_deck_error(
      network({1, 8, 8}, {layer("conv2d", {{"filters", 8}, {"kernel", 1}, {"padding", 1 << 19}})}),
      "deck.toml:1:5", {"its output [8, 1048584, 1048584] is too large"});
}

}  // namespace lepton::model
