// SPDX-License-Identifier: Apache-2.0
// Rules of single operators.
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Types = std::vector<std::string>;
using Numbers = std::vector<int64_t>;

/// Layers over the channels of pixels, which stand last.
TEST(ImportRules, ProductsOnRowsOfImages) {
  ModelText text({2, 3, 4});
  text.weights("w", {4, 2}).weights("b", {2}).node("MatMul", {"x", "w"}, "p").node("Add", {"p", "b"}, "y");
  const model::Graph graph = text.import({2, 3, 4});
  EXPECT_EQ(types_of(graph), (std::vector<std::string>{"Reshape", "Gemm", "Reshape", "Identity"}));
  EXPECT_EQ(graph.values[static_cast<size_t>(graph.nodes.back().output)].shape, (Shape{2, 3, 2}));
  const std::vector<float> x = counted(24), y = run(graph, arena_of(graph), x);
  for (size_t row = 0; row < 6; ++row)
    for (size_t k = 0; k < 2; ++k) {
      float want = k == 0 ? 0.1F : -0.2F;
      for (size_t c = 0; c < 4; ++c)
        want += x[4 * row + c] * static_cast<float>(2 * c + k + 1) / (k == 0 ? 10 : -10);
      EXPECT_NEAR(y[2 * row + k], want, 1e-5F);
    }
}

TEST(ImportRules, AWindowThatIsAllOfTheInputIsGlobal) {
  for (const int64_t length : {255, 300})
    for (const std::string type : {"MaxPool", "AveragePool"}) {
      ModelText text({2, length});
      text.node(type, {"x"}, "y", {{"kernel_shape", Numbers{length}}, {"strides", Numbers{length}}});
      const model::Graph graph = text.import({2, length});
      const std::vector<std::string> types = types_of(graph);
      EXPECT_EQ(std::ranges::count(types, (length > 255 ? "Global" : "") + type), 1) << type;
      EXPECT_EQ(graph.values[static_cast<size_t>(graph.nodes.back().output)].shape, (Shape{2, 1}));
    }
  ModelText padded({2, 300});
  padded.node("MaxPool", {"x"}, "y",
              {{"kernel_shape", Numbers{300}}, {"auto_pad", std::string("SAME_UPPER")}});
  padded.refuse({2, 300}, {"at most 255"});
  ModelText part({2, 300});
  part.node("MaxPool", {"x"}, "y", {{"kernel_shape", Numbers{299}}});
  part.refuse({2, 300}, {"at most 255"});
}

TEST(ImportRules, CastLikeTakesTheTypeOfWhatItMeets) {
  ModelText text({2});
  text.integers("three", {3}).floats("half", {1}, {0.5F});
  text.node("CastLike", {"three", "x"}, "a")
      .node("CastLike", {"three", "half"}, "b")
      .node("Add", {"a", "b"}, "six")
      .node("CastLike", {"x", "half"}, "same")
      .node("Mul", {"same", "six"}, "y");
  const model::Graph graph = text.import({2});
  expect_near(run(graph, arena_of(graph), {1, -2}), {6, -12}, 1e-6F);
  ModelText rounds({2});
  rounds.integers("three", {3}).node("Relu", {"x"}, "r").node("CastLike", {"r", "three"}, "y");
  rounds.refuse({2}, {"it rounds what the network computes"});
}

/// Types of truth values and of integers that are computed with count, too.
TEST(ImportRules, CastLikeRefusesToRound) {
  ModelText truth({2});
  truth.floats("one", {1}, {1}).node("Less", {"x", "one"}, "t").node("Relu", {"x"}, "r");
  truth.node("CastLike", {"r", "t"}, "y");
  truth.refuse({2}, {"CastLike_y (CastLike): it rounds"});
  ModelText ids({2});
  auto& type = *ids.message().mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type();
  type.set_elem_type(messages::TensorProto::INT64);
  ids.integers("one", {1}).node("Add", {"x", "one"}, "next").node("Cast", {"x"}, "f", {{"to", int64_t{1}}});
  ids.node("Sqrt", {"f"}, "r").node("CastLike", {"r", "next"}, "y");
  ids.refuse({2}, {"CastLike_y (CastLike): it rounds"});
}

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

TEST(ImportRules, FrozenBatchNormGoesByItsRunningStatistics) {
  ModelText text({2, 1, 1});
  text.floats("n.scale", {2}, {2, 3})
      .floats("n.bias", {2}, {1, -1})
      .floats("n.mean", {2}, {0.5F, -2})
      .floats("n.var", {2}, {4, 9})
      .node("BatchNormalization", {"x", "n.scale", "n.bias", "n.mean", "n.var"}, "n")
      .weights("w", {2, 2})
      .node("Flatten", {"n"}, "f")
      .node("MatMul", {"f", "w"}, "y");
  EXPECT_FALSE(text.import({2, 1, 1}, false, {"n.scale"}).nodes[0].attributes.contains("training_mode"));
  const model::Graph graph = text.import({2, 1, 1}, false, {"n."});
  EXPECT_EQ(ops::int_attribute(graph.nodes[0].attributes, "training_mode", 1), 0);
  for (const ArenaTensor& tensor : graph.layout.tensors()) EXPECT_EQ(tensor.frozen, tensor.name != "w");
  expect_error_of([&] { text.import({2, 1, 1}, false, {"n.mean"}); }, Exit::deck, {"frozen both"});
}

TEST(ImportRules, DropoutTakesItsRatioAsAnInput) {
  ModelText text({3});
  text.floats("ratio", {}, {0.25F}).node("Dropout", {"x", "ratio"}, "y", {{"seed", int64_t{3}}});
  const model::Graph graph = text.import({3});
  EXPECT_EQ(graph.nodes[0].attributes, (ops::Attributes{{"ratio", 0.25}}));
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

TEST(ImportRules, CastsOfTheInput) {
  ModelText truth({3});
  truth.node("Cast", {"x"}, "b", {{"to", int64_t{9}}}).node("Cast", {"b"}, "y", {{"to", int64_t{1}}});
  const model::Graph graph = truth.import({3});
  EXPECT_EQ(run(graph, arena_of(graph), {-2, 0, 0.5F}), (std::vector<float>{1, 0, 1}));
  ModelText rounds({3});
  rounds.node("Cast", {"x"}, "i", {{"to", int64_t{7}}})
      .node("Cast", {"i"}, "f", {{"to", int64_t{1}}})
      .node("Relu", {"f"}, "y");
  rounds.refuse({3}, {"Cast_i", "does not declare to be integers"});
  rounds.message().mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(6);
  EXPECT_EQ(types_of(rounds.import({3})), Types{"Relu"});
}

TEST(ImportRules, BiasesAreAcrossTheOutputs) {
  ModelText text({3});
  text.weights("w", {3, 2}).weights("b", {2, 1}).node("Gemm", {"x", "w", "b"}, "y");
  text.refuse({3}, {"Gemm_y", "its bias has the shape [2, 1] for 2 outputs"});
}

}  // namespace
}  // namespace lepton::onnx
