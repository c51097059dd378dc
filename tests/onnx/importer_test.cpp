// SPDX-License-Identifier: Apache-2.0
// The walk through a file: what is needed, what is folded, ends of the network, and all problems at once.
#include "onnx/importer.h"

#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Types = std::vector<std::string>;

ModelText two_layers() {
  ModelText text({3});
  return text.weights("w1", {3, 4})
      .weights("b1", {4})
      .weights("w2", {4, 2})
      .node("MatMul", {"x", "w1"}, "p")
      .node("Add", {"b1", "p"}, "h")
      .node("Relu", {"h"}, "a")
      .node("Identity", {"a"}, "same")
      .node("Gemm", {"same", "w2"}, "y");
}

TEST(Importer, ProductsAndTheirBiasesAreDenseLayers) {
  const model::Graph graph = two_layers().import({3});
  EXPECT_EQ(types_of(graph), (Types{"Gemm", "Relu", "Gemm"}));
  EXPECT_EQ(graph.nodes[0].parameters, (std::vector<int>{0, 1}));
  EXPECT_EQ(graph.layout.tensors()[0].name, "w1");
  EXPECT_EQ(graph.layout.tensors()[0].shape, (Shape{4, 3}));
  const std::vector<float> w1{.1F, -.2F, .3F, -.4F, .5F, -.6F, .7F, -.8F, .9F, -1, 1.1F, -1.2F};
  const std::vector<float> b1{.1F, -.2F, .3F, -.4F}, w2{.1F, -.2F, .3F, -.4F, .5F, -.6F, .7F, -.8F};
  const std::vector<float> x{1, 2, -1, -3, 0.5F, 2};
  std::vector<float> expected;
  for (size_t n = 0; n < 2; ++n)
    for (size_t o = 0; o < 2; ++o) {
      float sum = 0;
      for (size_t h = 0; h < 4; ++h) {
        float hidden = b1[h];
        for (size_t i = 0; i < 3; ++i) hidden += x[n * 3 + i] * w1[i * 4 + h];
        sum += std::max(hidden, 0.0F) * w2[h * 2 + o];
      }
      expected.push_back(sum);
    }
  expect_near(run(graph, arena_of(graph), x), expected, 1e-5F);
}

TEST(Importer, ShapesAreFolded) {
  ModelText text({2, 6});
  text.node("Shape", {"x"}, "s")
      .integers("zero", {0})
      .integers("rest", {-1})
      .node("Gather", {"s", "zero"}, "n", {{"axis", int64_t{0}}})
      .node("Concat", {"n", "rest"}, "shape", {{"axis", int64_t{0}}})
      .node("Reshape", {"x", "shape"}, "flat")
      .node("Relu", {"flat"}, "y");
  const model::Graph graph = text.import({2, 6});
  EXPECT_EQ(types_of(graph), (Types{"Reshape", "Relu"}));
  EXPECT_EQ(graph.values.back().shape, Shape{12});
}

TEST(Importer, WhatNobodyNeedsIsLeftOut) {
  ModelText text = two_layers();
  text.node("NoSuchOperator", {"x"}, "unused").weights("lonely", {7});
  EXPECT_EQ(types_of(text.import({3})).size(), 3U);
}

TEST(Importer, AllProblemsAreTold) {
  ModelText text({3});
  text.node("Foo", {"x"}, "a")
      .node("Relu", {"a"}, "hidden_behind")
      .node("Bar", {"x"}, "b")
      .node("Concat", {"hidden_behind", "b"}, "y", {{"axis", int64_t{1}}});
  const auto error = expect_error_of([&] { text.import({3}); }, Exit::deck,
                                     {"deck.toml:7:8", "net.onnx", "Foo_a (Foo): Lepton has no such operator",
                                      "Bar_b (Bar): Lepton has no such operator"});
  EXPECT_EQ(std::string(error->what()).find("Relu_"), std::string::npos) << "told where it began";
}

TEST(Importer, RefusalsOfOperatorsNameTheNode) {
  ModelText text({3, 4, 4});
  text.weights("w", {2, 5, 3, 3}).node("Conv", {"x", "w"}, "y");
  text.refuse({3, 4, 4}, {"Conv_y (Conv): ", "do not fit the input [3, 4, 4]"});
  ModelText other({3});
  other.node("Relu", {"x"}, "y").last().set_domain("com.example");
  other.refuse({3}, {"domain com.example"});
  ModelText wrong({3});
  wrong.node("LeakyRelu", {"x"}, "y", {{"alpha", std::string("steep")}});
  wrong.refuse({3}, {"LeakyRelu_y", "alpha must be a number"});
  ModelText listed({3});
  listed.node("Relu", {"x"}, "y").last().add_attribute()->set_name("graphs");
  listed.refuse({3}, {"Relu_y", "attribute graphs"});
}

/// As traced attention asks for the sizes of what it turns.
TEST(Importer, WhatIsUsedForItsShapeAloneIsLeftOut) {
  ModelText text({2, 3});
  text.node("Transpose", {"x"}, "t", {{"perm", std::vector<int64_t>{0, 2, 1}}})
      .node("Shape", {"t"}, "s")
      .node("Reshape", {"x", "s"}, "r")
      .node("Relu", {"r"}, "y");
  const model::Graph graph = text.import({2, 3});
  EXPECT_EQ(types_of(graph), (std::vector<std::string>{"Reshape", "Relu"}));
  ModelText learned({2, 3});
  learned.weights("w", {3, 3})
      .node("MatMul", {"x", "w"}, "p")
      .node("Shape", {"p"}, "s")
      .node("Reshape", {"x", "s"}, "r")
      .node("Relu", {"r"}, "y");
  learned.refuse({2, 3}, {"net.onnx: w has no effect on the output"});
}

TEST(Importer, TheInputMustFitTheData) {
  two_layers().refuse({5}, {"input x takes [N, 3]", "[5]"});
  ModelText open({3, 4, 4});
  open.node("Relu", {"x"}, "y");
  auto& shape = *open.message()
                     .mutable_graph()
                     ->mutable_input(0)
                     ->mutable_type()
                     ->mutable_tensor_type()
                     ->mutable_shape();
  shape.mutable_dim(0)->set_dim_value(8);  // any batch
  EXPECT_EQ(open.import({3, 4, 4}).nodes.size(), 1U);
  shape.mutable_dim(2)->set_dim_param("height");
  open.refuse({3, 4, 4}, {"is open: [8, 3, height, 4]"});
  ModelText two({3});
  two.add_input("z", {3}).node("Add", {"x", "z"}, "y");
  two.refuse({3}, {"further inputs", "z [N, 3]"});
}

TEST(Importer, TheOutputMustBeOneAndComputed) {
  ModelText two({3});
  two.node("Relu", {"x"}, "y").message().mutable_graph()->add_output()->set_name("x");
  two.refuse({3}, {"2 outputs"});
  ModelText none({3});
  none.node("Relu", {"x"}, "z");
  none.refuse({3}, {"its output y is not computed"});
  ModelText same({3});
  same.node("Identity", {"x"}, "y");
  same.refuse({3}, {"its output y is not computed"});
}

TEST(Importer, NodesMustFollowEachOther) {
  ModelText text({3});
  text.node("Relu", {"later"}, "y").node("Relu", {"x"}, "later");
  text.refuse({3}, {"Relu_y (Relu): its input later is not computed before it"});
  ModelText loop({3});
  loop.node("Relu", {"y"}, "y");
  loop.refuse({3}, {"not computed before"});
}

TEST(Importer, NamesAreUniqueAndNodesWithoutGetTheirOutputs) {
  ModelText text({3});
  text.node("Relu", {"x"}, "a").node("Relu", {"a"}, "b").node("Relu", {"b"}, "y");
  auto& graph = *text.message().mutable_graph();
  graph.mutable_node(0)->set_name("twice");
  graph.mutable_node(1)->set_name("twice");
  graph.mutable_node(2)->clear_name();
  const model::Graph made = text.import({3});
  EXPECT_EQ(made.nodes[1].name, "twice_2");
  EXPECT_EQ(made.nodes[2].name, "y");
}

TEST(Importer, OutputsThatAreNotComputedAreRefusedWhereTheyAreUsed) {
  ModelText text({1, 4});
  text.node("MaxPool", {"x"}, "p", {{"kernel_shape", std::vector<int64_t>{2}}});
  text.last().add_output("indices");
  text.node("Relu", {"p"}, "y");
  EXPECT_EQ(types_of(text.import({1, 4}))[1], "MaxPool");  // behind an Identity for its layout
  text.message().mutable_graph()->mutable_node(1)->set_input(0, "indices");
  text.refuse({1, 4}, {"its output indices is not computed"});
}

TEST(Importer, NamesStandForOneThing) {
  ModelText again = two_layers();
  again.node("Relu", {"y"}, "h");
  again.refuse({3}, {"net.onnx: two things have the name h"});
  ModelText weight = two_layers();
  weight.node("Relu", {"y"}, "w1");
  weight.refuse({3}, {"two things have the name w1"});
  ModelText input = two_layers();
  input.node("Relu", {"y"}, "x");
  input.refuse({3}, {"two things have the name x"});
}

/// What is left out has no name, also behind a node that is not computed.
TEST(Importer, NoNameIsNoThing) {
  for (const char* type : {"Foo", "Relu"}) {
    ModelText text({3});
    text.node("Foo", {"x"}, "a").node(type, {"a"}, "b");
    for (int i = 0; i < 2; ++i) text.message().mutable_graph()->mutable_node(i)->add_output("");
    text.node("Constant", {}, "half", {{"value_float", 0.5}})
        .node("Mul", {"x", "half"}, "h")
        .node("Add", {"h", "b"}, "y");
    text.refuse({3}, {"Foo_a (Foo): Lepton has no such operator"});
  }
}

}  // namespace
}  // namespace lepton::onnx
