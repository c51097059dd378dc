// SPDX-License-Identifier: Apache-2.0
// Weights: which decay, how those without values begin, and what is refused.
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Kind = model::Initialiser::Kind;

ModelText images() {
  ModelText text({2, 4, 4});
  return text.weights("conv.w", {3, 2, 3, 3})
      .weights("conv.b", {3})
      .weights("dense.w", {12, 5})
      .node("Conv", {"x", "conv.w", "conv.b"}, "c")
      .node("Relu", {"c"}, "r")
      .node("Flatten", {"r"}, "f")
      .node("MatMul", {"f", "dense.w"}, "y");
}

TEST(ImportWeights, WeightsDecayAndBiasesDoNot) {
  const model::Graph graph = images().import({2, 4, 4});
  const auto& tensors = graph.layout.tensors();
  ASSERT_EQ(tensors.size(), 3U);
  EXPECT_TRUE(tensors[0].decays);
  EXPECT_EQ(tensors[0].l2, 0.25);
  EXPECT_FALSE(tensors[1].decays);
  EXPECT_EQ(tensors[1].l2, 0);
  EXPECT_TRUE(tensors[2].decays);
  for (const auto& initialiser : graph.initialisers) EXPECT_EQ(initialiser.kind, Kind::given);
}

TEST(ImportWeights, WithoutValuesTheyBeginAsLayersDo) {
  const model::Graph graph = images().import({2, 4, 4}, true);
  EXPECT_TRUE(graph.given.empty());
  EXPECT_EQ(graph.initialisers[0].kind, Kind::he_normal);  // a Relu follows
  EXPECT_EQ(graph.initialisers[0].fan_in, 2 * 9);
  EXPECT_EQ(graph.initialisers[0].fan_out, 3 * 9);
  EXPECT_EQ(graph.initialisers[1].kind, Kind::zeros);
  EXPECT_EQ(graph.initialisers[2].kind, Kind::glorot_uniform);
  EXPECT_EQ(graph.initialisers[2].fan_in, 12);
  EXPECT_EQ(graph.initialisers[2].fan_out, 5);
  EXPECT_NE(arena_of(graph, 1), arena_of(graph, 2)) << "by the seed";
}

TEST(ImportWeights, InputsOfTheFileMayBeWeights) {
  ModelText text({3});
  text.add_input("w", {3, 2}, false).node("Gemm", {"x", "w"}, "y");
  const model::Graph graph = text.import({3});
  EXPECT_EQ(graph.layout.tensors()[0].name, "w");
  EXPECT_EQ(graph.initialisers[0].kind, Kind::glorot_uniform);
}

TEST(ImportWeights, ParametersOfSumsLoseTheBatchDimension) {
  ModelText text({4, 2});
  text.weights("p", {1, 4, 2}).node("Add", {"x", "p"}, "y");
  EXPECT_EQ(text.import({4, 2}).layout.tensors()[0].shape, (Shape{4, 2}));
  ModelText differs({4, 2});
  differs.weights("p", {3, 4, 2}).node("Add", {"x", "p"}, "y");
  differs.refuse({4, 2}, {"differs from sample to sample"});
  ModelText larger({4});
  larger.weights("p", {1, 1, 4}).node("Add", {"x", "p"}, "y");
  larger.refuse({4}, {"more dimensions"});
}

TEST(ImportWeights, ConstantsOfAFormulaAreFrozenAndKeepTheirValues) {
  ModelText constant({4});
  constant.floats("half", {}, {0.5F}).node("Mul", {"x", "half"}, "h");
  constant.weights("w", {4, 2}).node("MatMul", {"h", "w"}, "y");
  for (const bool initialise : {false, true}) {
    const model::Graph graph = constant.import({4}, initialise);
    const auto& tensors = graph.layout.tensors();
    ASSERT_EQ(tensors.size(), 2U);
    EXPECT_TRUE(tensors[0].frozen);
    EXPECT_FALSE(tensors[0].decays);
    EXPECT_FALSE(tensors[1].frozen);
    EXPECT_EQ(arena_of(graph, 1)[0], 0.5F);
  }
}

TEST(ImportWeights, SeveralNodesMayShareWeights) {
  ModelText shared({3});
  shared.weights("w", {3, 3}).node("MatMul", {"x", "w"}, "a").node("MatMul", {"a", "w"}, "y");
  const model::Graph graph = shared.import({3});
  EXPECT_EQ(graph.layout.tensors().size(), 1U);
  EXPECT_EQ(graph.nodes[0].parameters, graph.nodes[1].parameters);
  ModelText turned({3});
  turned.weights("w", {3, 3})
      .node("MatMul", {"x", "w"}, "a")
      .node("Gemm", {"a", "w"}, "y", {{"transB", int64_t{1}}});
  turned.refuse({3}, {"another form"});
}

}  // namespace
}  // namespace lepton::onnx
