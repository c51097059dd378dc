// SPDX-License-Identifier: Apache-2.0
// Weights: which decay, how those without values begin, and what is refused.
#include <cmath>

#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Kind = model::Initialiser::Kind;
using Numbers = std::vector<int64_t>;

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

/// Exporters for inference merge scales of ones and biases of zeros.
TEST(ImportWeights, EqualOnesAreNotTied) {
  ModelText text({3});
  text.floats("ones", {3}, {1, 1, 1})
      .weights("b", {3})
      .node("LayerNormalization", {"x", "ones", "b"}, "n")
      .node("LayerNormalization", {"n", "ones", "b"}, "y");
  const model::Graph graph = text.import({3});
  ASSERT_EQ(graph.layout.tensors().size(), 3U);
  EXPECT_NE(graph.nodes[0].parameters[0], graph.nodes[1].parameters[0]);
  EXPECT_EQ(graph.nodes[0].parameters[1], graph.nodes[1].parameters[1]);
}

/// Of products that do not share their weights, whatever is in it.
TEST(ImportWeights, AMergedBiasIsNotTied) {
  ModelText text({3});
  text.weights("v", {3, 3}).weights("w", {3, 3}).weights("b", {3});
  text.node("Gemm", {"x", "v", "b"}, "p")
      .node("Gemm", {"p", "v", "b"}, "q")
      .node("Gemm", {"q", "w", "b"}, "r")
      .node("MatMul", {"r", "w"}, "s")
      .node("Add", {"s", "b"}, "y");
  const model::Graph graph = text.import({3});
  ASSERT_EQ(graph.nodes.size(), 4U);
  EXPECT_EQ(graph.nodes[0].parameters, graph.nodes[1].parameters) << "a layer that is used twice";
  EXPECT_NE(graph.nodes[1].parameters[1], graph.nodes[2].parameters[1]);
  EXPECT_EQ(graph.layout.tensors().size(), 4U);
  EXPECT_EQ(graph.nodes[2].parameters, graph.nodes[3].parameters) << "another one";
  const std::vector<float> arena = arena_of(graph);
  for (const size_t node : {size_t{1}, size_t{2}}) {
    const auto at = [&](size_t n) {
      return arena.begin() + graph.layout.tensors()[static_cast<size_t>(graph.nodes[n].parameters[1])].offset;
    };
    EXPECT_TRUE(std::equal(at(0), at(0) + 3, at(node)));
  }
}

/// Of constants that no initializer holds: what the exporter puts where a program has none.
TEST(ImportWeights, ScalesAndBiasesThatAreNoneDoNotLearn) {
  ModelText text({1, 4, 3});
  text.weights("w", {3, 1, 2, 2}).weights("learned", {3}).integers("three", {3});
  text.node("ConstantOfShape", {"three"}, "zeros")
      .node("LayerNormalization", {"x", "learned", "zeros"}, "n")
      .node("Conv", {"n", "w", "zeros"}, "y");
  const model::Graph graph = text.import({1, 4, 3});
  const auto& tensors = graph.layout.tensors();
  ASSERT_EQ(tensors.size(), 3U) << "the product has no bias";
  EXPECT_EQ(tensors[0].name, "learned");
  EXPECT_FALSE(tensors[0].frozen);
  EXPECT_TRUE(tensors[1].frozen);
  EXPECT_FALSE(tensors[2].frozen);
}

/// Norms of weights, say; but not masks, what is frozen by name, or weights that stand side by side.
TEST(ImportWeights, TellsWhatNodesComputeWithAlone) {
  ModelText text({2});
  text.weights("v", {2, 2}).weights("u", {2, 2}).weights("w", {2, 1}).weights("z", {2, 1}).integers("k", {1});
  text.floats("mask", {2}, {0, -INFINITY}).floats("two", {1}, {2});
  text.node("Mul", {"v", "two"}, "double")
      .node("Mul", {"u", "two"}, "twice")
      .node("Mul", {"mask", "two"}, "hidden")
      .node("Concat", {"w", "z"}, "both", {{"axis", int64_t{1}}})
      .node("MatMul", {"x", "double"}, "a")
      .node("Add", {"a", "hidden"}, "b")
      .node("MatMul", {"b", "twice"}, "c")
      .node("MatMul", {"c", "both"}, "y");
  TensorNotes notes;
  ImportSpec spec{"net.onnx", {}, {2}};
  spec.notes = &notes;
  import_network(text.message().SerializeAsString(), spec);
  EXPECT_EQ(notes.computed, (std::vector<std::string>{"v", "u"}));
  notes = {};
  spec.frozen = {"u"};
  import_network(text.message().SerializeAsString(), spec);
  EXPECT_EQ(notes.computed, std::vector<std::string>{"v"});
  notes = {};
  ModelText resized({1, 2, 2});  // what a rule reads
  resized.floats("scales", {4}, {1, 1, 2, 2}).node("Resize", {"x", "", "scales"}, "y");
  spec.frozen = {};
  spec.input = {1, 2, 2};
  import_network(resized.message().SerializeAsString(), spec);
  EXPECT_EQ(notes.computed, std::vector<std::string>{});
}

/// As in x W' and a table W: the same tensor, in whichever form the file takes it.
TEST(ImportWeights, TurnedTwiceIsTheSame) {
  ModelText tied({3});
  tied.weights("w", {5, 4})
      .weights("v", {4, 4})
      .node("Gather", {"w", "x"}, "e")
      .node("MatMul", {"e", "v"}, "h")
      .node("Transpose", {"w"}, "t", {{"perm", Numbers{1, 0}}})
      .node("MatMul", {"h", "t"}, "y");
  const model::Graph graph = tied.import({3});
  EXPECT_EQ(graph.layout.tensors().size(), 2U);
  ModelText square({3});
  square.weights("w", {3, 3})
      .node("MatMul", {"x", "w"}, "a")
      .node("Transpose", {"w"}, "t", {{"perm", Numbers{1, 0}}})
      .node("MatMul", {"a", "t"}, "y");
  square.refuse({3}, {"takes w in another form"});
}

TEST(ImportWeights, PlacesAreLearned) {
  for (const int64_t count : {4, 6}) {  // of 4 that are needed
    ModelText text({4, 2});
    text.weights("places", {count, 2}).integers("zero", {0}).integers("one", {1});
    write_integers("from", {}, {0}, *text.message().mutable_graph()->add_initializer());
    write_integers("to", {}, {4}, *text.message().mutable_graph()->add_initializer());
    write_integers("step", {}, {1}, *text.message().mutable_graph()->add_initializer());
    text.node("Range", {"from", "to", "step"}, "i")
        .node("Unsqueeze", {"i", "zero"}, "ids")
        .node("Gather", {"places", "ids"}, "p")
        .node("Add", {"x", "p"}, "y");
    const model::Graph graph = text.import({4, 2});
    ASSERT_EQ(graph.layout.tensors().size(), 1U);
    EXPECT_EQ(graph.layout.tensors()[0].name, "places");
    EXPECT_EQ(graph.layout.tensors()[0].shape, (Shape{4, 2}));
    EXPECT_FALSE(graph.layout.tensors()[0].frozen);
    expect_near(run(graph, arena_of(graph), std::vector<float>(8, 0)),
                {.1F, -.2F, .3F, -.4F, .5F, -.6F, .7F, -.8F}, 1e-6F);
  }
}

/// Packed weights of which nodes take parts.
ModelText in_parts(int64_t end, int64_t begin) {
  ModelText text({3});
  text.weights("w", {5, 3})
      .integers("zero", {0})
      .integers("begin", {begin})
      .integers("end", {end})
      .integers("five", {5})
      .node("Slice", {"w", "zero", "end"}, "first")
      .node("Slice", {"w", "begin", "five"}, "second")
      .node("Gemm", {"x", "first"}, "a", {{"transB", int64_t{1}}})
      .node("Gemm", {"x", "second"}, "b", {{"transB", int64_t{1}}})
      .node("Concat", {"a", "b"}, "c", {{"axis", int64_t{1}}})
      .node("Relu", {"c"}, "y");
  return text;
}

TEST(ImportWeights, PartsOfATensorAreTensors) {
  const model::Graph graph = in_parts(2, 2).import({3});
  ASSERT_EQ(graph.layout.tensors().size(), 2U);
  EXPECT_EQ(graph.layout.tensors()[0].name, "w");
  EXPECT_EQ(graph.layout.tensors()[1].name, "w.6");
  expect_near(run(graph, arena_of(graph), {1, 0, 0}), {.1F, 0, .7F, 0, 1.3F}, 1e-6F);
  const std::vector<std::string> twice = {
      "takes w in another form than another node does, or parts of it twice"};
  in_parts(3, 2).refuse({3}, twice);
  ModelText frozen = in_parts(3, 2);
  frozen.last().set_output(0, "z");
  frozen.weights("v", {6, 2}).node("MatMul", {"z", "v"}, "y");
  EXPECT_EQ(frozen.import({3}, false, {"w"}).layout.tensors().size(), 3U);
}

TEST(ImportWeights, FrozenByName) {
  const model::Graph graph = images().import({2, 4, 4}, true, {"conv."});
  const auto& tensors = graph.layout.tensors();
  EXPECT_TRUE(tensors[0].frozen);
  EXPECT_FALSE(tensors[0].decays);
  EXPECT_TRUE(tensors[1].frozen);
  EXPECT_FALSE(tensors[2].frozen);
  EXPECT_EQ(arena_of(graph)[0], 0.1F) << "what is frozen has the file's values";
  const auto refused = [](const std::string& name, const std::vector<std::string>& pieces) {
    expect_error_of([&] { images().import({2, 4, 4}, false, {name}); }, Exit::deck, pieces);
  };
  refused("cnov.", {"\"cnov.\"", "no tensor's name"});
  refused("", {"nothing is left to train"});
}

TEST(ImportWeights, MasksDoNotLearn) {
  for (const float hidden : {-INFINITY, -3.4e38F, -1e9F, -65504.0F, -1e4F, -9999.0F}) {
    ModelText text({2});
    text.floats("mask", {2}, {0, hidden}).weights("b", {2}).node("Add", {"x", "mask"}, "m");
    text.node("Add", {"m", "b"}, "y");
    const model::Graph graph = text.import({2}, true);
    EXPECT_EQ(graph.layout.tensors()[0].frozen, hidden <= -1e4F);
    EXPECT_FALSE(graph.layout.tensors()[1].frozen);
    EXPECT_EQ(arena_of(graph)[1] == hidden, hidden <= -1e4F) << "its values stay";
  }
}

/// Also of one number, where it is the one that such tensors begin at.
TEST(ImportWeights, EqualSlopesAreNotTied) {
  for (const float value : {0.25F, 0.75F}) {
    ModelText text({3});
    text.floats("slope", {1}, {value}).node("PRelu", {"x", "slope"}, "p").node("PRelu", {"p", "slope"}, "y");
    EXPECT_EQ(text.import({3}).layout.tensors().size(), value == 0.25F ? 2U : 1U);
  }
}

}  // namespace
}  // namespace lepton::onnx
