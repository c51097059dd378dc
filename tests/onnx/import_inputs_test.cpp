// SPDX-License-Identifier: Apache-2.0
// Inputs: which of the data's each of the file's is, where the batch is, and what is refused.
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Numbers = std::vector<int64_t>;
using Data = std::vector<model::NamedShape>;

/// x - z.
ModelText difference() {
  ModelText text({3});
  return text.add_input("z", {3}).node("Sub", {"x", "z"}, "y");
}

TEST(ImportInputs, AreMatchedByName) {
  const model::Graph same = difference().import_of(Data{{"x", {3}}, {"z", {3}}});
  const model::Graph turned = difference().import_of(Data{{"z", {3}}, {"x", {3}}});
  EXPECT_EQ(same.inputs.size(), 2U);
  EXPECT_EQ(turned.values[0].name, "z");
  const std::vector<float> a{5, 6, 7}, b{1, 1, 4};
  expect_near(run_inputs(same, {}, {a, b}), {4, 5, 3}, 0);
  expect_near(run_inputs(turned, {}, {a, b}), {-4, -5, -3}, 0);
}

TEST(ImportInputs, TheLastOfItsKindNeedsNoName) {
  const model::Graph graph = difference().import_of(Data{{"image", {3}}, {"z", {3}}});
  expect_near(run_inputs(graph, {}, {{5, 6, 7}, {1, 1, 4}}), {4, 5, 3}, 0);
  difference().refuse_of(Data{{"a", {3}}, {"b", {3}}},
                         {"further inputs", "x [N, 3]", "z [N, 3]", "a [3], b [3]"});
}

TEST(ImportInputs, AllThatTheDataGiveIsTaken) {
  difference().refuse_of(Data{{"x", {3}}, {"z", {3}}, {"w", {2}}}, {"does not take all", "w"});
  ModelText text({3});
  text.node("Relu", {"x"}, "y");
  EXPECT_EQ(text.import_of(Data{{"x", {3}}, {"x.length", {1}}}).inputs.size(), 2U) << "lengths may be left";
  difference().refuse_of(Data{{"x", {3}}, {"z", {4}}}, {"input z takes [N, 3]", "data's z is [4]"});
}

/// Sequences with the steps in front, the batch behind them.
TEST(ImportInputs, TheBatchIsTheOnlyOpenDimension) {
  ModelText text({3});
  auto& shape = text.declared_shape();
  shape.mutable_dim(0)->set_dim_value(4);
  shape.mutable_dim(1)->set_dim_param("batch");
  shape.add_dim()->set_dim_value(2);
  text.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}}).node("Relu", {"t"}, "y");
  EXPECT_EQ(types_of(text.import({4, 2})), std::vector<std::string>{"Relu"});
  text.refuse({2, 4}, {"is open: [4, batch, 2]"});
  shape.mutable_dim(2)->set_dim_param("features");
  text.refuse({4, 2}, {"is open: [4, batch, features]"});
}

/// Behind the batch, as of files for sequences of any length.
TEST(ImportInputs, OpenDimensionsAreTheDatas) {
  ModelText text({4, 2});
  auto& shape = text.declared_shape();
  shape.mutable_dim(1)->set_dim_param("length");
  text.integers("shape", {0, -1}).node("Reshape", {"x", "shape"}, "y");
  EXPECT_EQ(text.import({4, 2}).outputs(), 8);
  EXPECT_EQ(text.import({5, 2}).outputs(), 10);
  text.refuse({5, 3}, {"takes [N, length, 2], but a sample of the data is [5, 3]"});
  text.refuse({1, 5, 2}, {"set data.layout = \"sequence\""});
}

/// As TensorFlow has images; Lepton's order is [C, H, W].
TEST(ImportInputs, ChannelsMayStandLast) {
  ModelText text({2, 4, 3});
  text.node("Relu", {"x"}, "y");
  EXPECT_EQ(computed(text, {2, 4, 3}).size(), 24U);
  const model::Graph graph = text.import({3, 2, 4});
  EXPECT_EQ(graph.values[static_cast<size_t>(graph.nodes.back().output)].shape, (Shape{2, 4, 3}));
  const std::vector<float> x = counted(24), y = run(graph, {}, x);  // [3, 2, 4] in ONNX's order
  for (size_t c = 0; c < 3; ++c)
    for (size_t p = 0; p < 8; ++p) EXPECT_EQ(y[3 * p + c], std::max(0.0F, x[8 * c + p]));
  text.refuse({2, 3, 4}, {"a sample of the data is [2, 3, 4]"});
}

/// As targets, columns of a table or what Squeeze leaves are; whatever needs an axis is refused.
TEST(ImportInputs, OneNumberPerSample) {
  const Data data{{"x", {3}}, {"age", {1}}};
  ModelText text({3});
  text.add_input("age", {}).integers("one", {1}).floats("two", {}, {2}).integers("minus", {-1});
  text.node("ReduceSum", {"x", "one"}, "sum", {{"keepdims", int64_t{0}}})
      .node("Mul", {"sum", "age"}, "product")
      .node("Div", {"product", "two"}, "half")
      .node("Reshape", {"half", "minus"}, "flat")
      .node("Unsqueeze", {"flat", "one"}, "column")
      .node("Squeeze", {"column", "minus"}, "again")
      .node("Unsqueeze", {"again", "one"}, "behind")
      .node("Add", {"x", "behind"}, "z")
      .node("ReduceMax", {"z", "one"}, "most", {{"keepdims", int64_t{0}}})
      .node("Relu", {"most"}, "y");
  const model::Graph graph = text.import_of(data);
  expect_near(run_inputs(graph, arena_of(graph), {{1, 2, 3, 1, 0, -5}, {9, 2}}), {30, 0}, 0);
  const auto refuse = [&](const std::string& type, const ops::Attributes& attributes) {
    ModelText bad({3});
    bad.add_input("age", {}).node("Relu", {"age"}, "r").node(type, {"r"}, "s", attributes);
    bad.integers("one", {1}).node("Unsqueeze", {"s", "one"}, "c").node("Add", {"x", "c"}, "y");
    bad.refuse_of(data, {type + "_s"});
  };
  refuse("Softmax", {{"axis", int64_t{-1}}});
  refuse("LayerNormalization", {});
}

/// As of any other input: only lengths of recurrent layers are renamed without a look at their type.
TEST(ImportInputs, CastsOfOneNumberPerSample) {
  const Data data{{"x", {1}}, {"flag", {1}}};
  using Type = messages::TensorProto;
  const auto cast = [](int64_t type) {
    ModelText text({1});
    text.add_input("flag", {}).node("Cast", {"flag"}, "c", {{"to", type}});
    text.node("Cast", {"c"}, "f", {{"to", int64_t{Type::FLOAT}}}).integers("one", {1});
    text.node("Floor", {"f"}, "whole").node("Flatten", {"whole"}, "column").node("Add", {"x", "column"}, "y");
    return text;
  };
  const model::Graph graph = cast(Type::BOOL).import_of(data);
  EXPECT_EQ(run_inputs(graph, {}, {{0, 0, 0}, {3, 0, -0.5F}}), (std::vector<float>{1, 0, 1}));
  const model::Graph floats = cast(Type::DOUBLE).import_of(data);
  EXPECT_EQ(run_inputs(floats, {}, {{0, 0}, {3.5F, -0.5F}}), (std::vector<float>{3, -1}));
  cast(Type::INT64).refuse_of(data, {"it rounds an input"});
}

TEST(ImportInputs, OneNumberPerSampleGetsADimension) {
  ModelText text({3});
  text.add_input("age", {})
      .integers("one", {1})
      .node("Unsqueeze", {"age", "one"}, "column")
      .node("Concat", {"x", "column"}, "y", {{"axis", int64_t{1}}});
  const Data data{{"x", {3}}, {"age", {1}}};
  expect_near(run_inputs(text.import_of(data), {}, {{1, 2, 3}, {9}}), {1, 2, 3, 9}, 0);
  ModelText sum({3});
  sum.add_input("age", {}).node("Add", {"x", "age"}, "y");
  sum.refuse_of(data, {"Add_y (Add): its inputs have their batch dimension at different places"});
}

TEST(ImportInputs, WeightsWithoutValuesAreNoInputsOfTheData) {
  ModelText text({3});
  text.add_input("w", {3, 2}, false)
      .add_input("z", {2})
      .node("Gemm", {"x", "w"}, "p")
      .node("Add", {"p", "z"}, "y");
  const model::Graph graph = text.import_of(Data{{"x", {3}}, {"other", {2}}});
  EXPECT_EQ(graph.layout.tensors()[0].name, "w");
  EXPECT_EQ(graph.inputs.size(), 2U);
}

TEST(ImportInputs, WhatNobodyTakesIsLeftOut) {
  ModelText text({3});
  text.add_input("mask", {7}).node("Relu", {"x"}, "y");
  EXPECT_EQ(text.import({3}).inputs.size(), 1U);
  text.refuse_of(Data{{"x", {3}}, {"mask", {7}}}, {"does not take all", "mask"});
}

/// As PyTorch writes nn.Embedding, of two columns of integers.
TEST(ImportInputs, TablesAreGatheredByIntegers) {
  ModelText text({2});
  text.message().mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(
      messages::TensorProto::INT64);
  text.weights("words.weight", {5, 2})
      .add_input("extra", {2, 2})
      .node("Gather", {"words.weight", "x"}, "e", {{"axis", int64_t{0}}})
      .node("Add", {"e", "extra"}, "y");
  const model::Graph graph = text.import_of(Data{{"tokens", {2}}, {"extra", {2, 2}}});
  EXPECT_EQ(model::table_rows(graph).below, 5);
  EXPECT_EQ(graph.layout.tensors()[0].name, "words.weight");
  EXPECT_FALSE(graph.layout.tensors()[0].frozen);
  expect_near(run_inputs(graph, arena_of(graph), {{4, 0}, {1, 1, 0, 0}}), {1.9F, 0, .1F, -.2F}, 1e-6F);
}

}  // namespace
}  // namespace lepton::onnx
