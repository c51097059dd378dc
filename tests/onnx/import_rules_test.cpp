// SPDX-License-Identifier: Apache-2.0
// Rules of single operators.
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Types = std::vector<std::string>;
using Numbers = std::vector<int64_t>;

TEST(ImportRules, GemmTakesWeightsBothWays) {
  ModelText columns({3}), rows({3});
  columns.weights("w", {3, 2}).weights("b", {2}).node("Gemm", {"x", "w", "b"}, "y");
  rows.floats("w", {2, 3}, {.1F, .3F, .5F, -.2F, -.4F, -.6F})
      .weights("b", {2})
      .node("Gemm", {"x", "w", "b"}, "y", {{"transB", int64_t{1}}});
  const model::Graph a = columns.import({3}), b = rows.import({3});
  EXPECT_EQ(arena_of(a), arena_of(b));
  EXPECT_EQ(a.layout.tensors()[0].shape, (Shape{2, 3}));
  ModelText across({3});
  across.weights("w", {3, 2}).node("Gemm", {"x", "w"}, "y", {{"transA", int64_t{1}}});
  across.refuse({3}, {"transA = 0"});
  ModelText one({3});
  one.weights("w", {3, 2}).floats("b", {}, {4}).node("Gemm", {"x", "w", "b"}, "y");
  const model::Graph graph = one.import({3});
  expect_near(run(graph, arena_of(graph), {0, 0, 0}), {4, 4}, 0);
}

TEST(ImportRules, AlphaAndBetaOfGemmArePartOfItsWeights) {
  ModelText text({2});
  text.floats("w", {2, 2}, {1, 2, 3, 4})
      .floats("b", {2}, {8, -8})
      .node("Gemm", {"x", "w", "b"}, "y", {{"alpha", 0.5}, {"beta", 0.25}});
  const model::Graph graph = text.import({2});
  EXPECT_TRUE(graph.nodes[0].attributes.contains("transB"));
  EXPECT_EQ(graph.nodes[0].attributes.size(), 1U);
  expect_near(graph.given.at(0), {0.5F, 1.5F, 1, 2}, 0);
  expect_near(graph.given.at(1), {2, -2}, 0);
  expect_near(run(graph, arena_of(graph), {1, 2}), {0.5F + 3 + 2, 1 + 4 - 2}, 1e-6F);
  ModelText shared({2});
  shared.weights("w", {2, 2}).node("MatMul", {"x", "w"}, "h").node("Gemm", {"h", "w"}, "y", {{"alpha", 2.0}});
  shared.refuse({2}, {"Gemm_y", "another form"});
}

TEST(ImportRules, TransposedWeightsAreFolded) {
  ModelText text({3});
  text.weights("w", {2, 3})
      .node("Transpose", {"w"}, "t", {{"perm", Numbers{1, 0}}})
      .node("MatMul", {"x", "t"}, "y");
  const model::Graph graph = text.import({3});
  EXPECT_EQ(graph.layout.tensors()[0].name, "w");
  expect_near(run(graph, arena_of(graph), {1, 0, 0}), {.1F, -.4F}, 1e-6F);
}

TEST(ImportRules, BatchNormHasStatistics) {
  ModelText text({2, 1, 1});
  text.floats("scale", {2}, {2, 3})
      .floats("bias", {2}, {1, -1})
      .floats("mean", {2}, {0.5F, -2})
      .floats("var", {2}, {4, 9})
      .node("BatchNormalization", {"x", "scale", "bias", "mean", "var"}, "y",
            {{"epsilon", 0.0}, {"momentum", 0.75}});
  const model::Graph graph = text.import({2, 1, 1});
  EXPECT_EQ(graph.statistics_momentum, 0.75);
  EXPECT_EQ(graph.layout.tensors()[2].role, TensorRole::statistic);
  expect_near(run(graph, arena_of(graph), {4.5F, 4}), {2 * 2 + 1, 3 * 2 - 1}, 1e-5F);
  text.floats("s2", {2}, {1, 1})
      .floats("b2", {2}, {1, 1})
      .floats("m2", {2}, {1, 1})
      .floats("v2", {2}, {1, 1});
  text.message().mutable_graph()->mutable_node(0)->set_output(0, "z");
  text.node("BatchNormalization", {"z", "s2", "b2", "m2", "v2"}, "y", {{"momentum", 0.5}});
  text.refuse({2, 1, 1}, {"BatchNormalization_y", "momentum"});
}

TEST(ImportRules, DropoutTakesItsRatioAsAnInput) {
  ModelText text({3});
  text.floats("ratio", {}, {0.25F}).node("Dropout", {"x", "ratio"}, "y", {{"seed", int64_t{3}}});
  const model::Graph graph = text.import({3});
  EXPECT_EQ(graph.nodes[0].attributes, (ops::Attributes{{"ratio", 0.25}}));
}

TEST(ImportRules, DimensionsOfOneComeAndGo) {
  ModelText text({3, 1, 2});
  text.integers("two", {2})
      .integers("last", {-1})
      .node("Squeeze", {"x", "two"}, "s")
      .node("Unsqueeze", {"s", "last"}, "u")
      .node("Relu", {"u"}, "y");
  const model::Graph graph = text.import({3, 1, 2});
  EXPECT_EQ(graph.values.back().shape.size() >= 3 ? graph.values[graph.nodes.back().output].shape : Shape{},
            (Shape{3, 2, 1}));
  ModelText wrong({3});
  wrong.integers("one", {1}).node("Squeeze", {"x", "one"}, "y");
  wrong.refuse({3}, {"removes a dimension that is not 1"});
}

TEST(ImportRules, ReshapeKeepsTheBatchByItself) {
  const auto reshaped = [](const Numbers& shape) {
    ModelText text({2, 6});
    text.integers("shape", shape).node("Reshape", {"x", "shape"}, "y");
    return text;
  };
  const auto shape_of = [&](const Numbers& shape) {
    const model::Graph graph = reshaped(shape).import({2, 6});
    return graph.values[static_cast<size_t>(graph.nodes[0].output)].shape;
  };
  EXPECT_EQ(shape_of({-1, 12}), Shape{12});
  EXPECT_EQ(shape_of({0, 3, -1}), (Shape{3, 4}));
  EXPECT_EQ(shape_of({1, 4, 3}), (Shape{4, 3}));  // exported for one sample
  EXPECT_EQ(shape_of({0, 0, 2, 3}), (Shape{2, 2, 3}));
  reshaped({-1, 6}).refuse({2, 6}, {"mixes the batch"});
  reshaped({2, -1, 6, -1}).refuse({2, 6}, {"mixes the batch"});
  reshaped({0, 5}).refuse({2, 6}, {"[2, 6]"});
}

TEST(ImportRules, ATransposeOfTheBatchAloneVanishes) {
  ModelText text({4, 3});
  text.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}})
      .weights("w", {3, 2})
      .node("MatMul", {"t", "w"}, "m")
      .node("Softmax", {"m"}, "s", {{"axis", int64_t{2}}})
      .node("Transpose", {"s"}, "y", {{"perm", Numbers{1, 0, 2}}});
  EXPECT_EQ(types_of(text.import({4, 3})), (Types{"Gemm", "Softmax"}));
  text.message().mutable_graph()->mutable_node(3)->mutable_attribute(0)->set_ints(0, 0);
  text.message().mutable_graph()->mutable_node(3)->mutable_attribute(0)->set_ints(1, 1);
  text.refuse({4, 3}, {"batch is not the first dimension of its output"});
  ModelText inner({4, 3});
  inner.node("Transpose", {"x"}, "y", {{"perm", Numbers{0, 2, 1}}});
  EXPECT_EQ(types_of(inner.import({4, 3})).front(), "Transpose");
}

TEST(ImportRules, TablesAreGatheredByTheInput) {
  ModelText text({3});
  text.node("Cast", {"x"}, "i", {{"to", int64_t{7}}})
      .weights("table", {5, 2})
      .node("Gather", {"table", "i"}, "y");
  const model::Graph graph = text.import({3});
  EXPECT_EQ(types_of(graph), Types{"Gather"});
  expect_near(run(graph, arena_of(graph), {4, 0, 1}), {.9F, -1, .1F, -.2F, .3F, -.4F}, 1e-6F);
  ModelText rounds({3});
  rounds.node("Relu", {"x"}, "r").node("Cast", {"r"}, "y", {{"to", int64_t{7}}});
  rounds.refuse({3}, {"it rounds what the network computes"});
}

TEST(ImportRules, FlattenKeepsTheBatch) {
  ModelText text({2, 3});
  text.node("Flatten", {"x"}, "y", {{"axis", int64_t{-2}}});
  EXPECT_EQ(types_of(text.import({2, 3})), Types{"Flatten"});
  ModelText more({2, 3});
  more.node("Flatten", {"x"}, "y", {{"axis", int64_t{2}}});
  more.refuse({2, 3}, {"more than the batch dimension"});
}

TEST(ImportRules, SizesCountSamples) {
  ModelText text({2, 3});
  text.node("Size", {"x"}, "all")
      .integers("six", {6})
      .integers("one", {-1})
      .node("Div", {"all", "six"}, "n")
      .node("Concat", {"n", "one"}, "shape", {{"axis", int64_t{0}}})
      .node("Reshape", {"x", "shape"}, "y");
  EXPECT_EQ(types_of(text.import({2, 3})), Types{"Reshape"});
}

}  // namespace
}  // namespace lepton::onnx
