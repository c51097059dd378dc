// SPDX-License-Identifier: Apache-2.0
// Rules of operators that change shapes, cut parts out and ask for sizes, wherever the batch is.
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Types = std::vector<std::string>;
using Numbers = std::vector<int64_t>;

TEST(ImportShapes, DimensionsOfOneComeAndGo) {
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

TEST(ImportShapes, ReshapeKeepsTheBatchByItself) {
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
  EXPECT_EQ(shape_of({0, 0, 2, 3}), (Shape{2, 2, 3}));
  EXPECT_EQ(shape_of({-1, 6, 2, 1}), (Shape{6, 2, 1}));
  reshaped({-1, 6}).refuse({2, 6}, {"batch is not the first dimension of its output"});
  reshaped({2, -1, 6, -1}).refuse({2, 6}, {"mixes the batch"});
  reshaped({0, 5}).refuse({2, 6}, {"[2, 6]"});
}

TEST(ImportShapes, ATransposeOfTheBatchAloneVanishes) {
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

TEST(ImportShapes, FlattenKeepsTheBatch) {
  ModelText text({2, 3});
  text.node("Flatten", {"x"}, "y", {{"axis", int64_t{-2}}});
  EXPECT_EQ(types_of(text.import({2, 3})), Types{"Flatten"});
  ModelText more({2, 3});
  more.node("Flatten", {"x"}, "y", {{"axis", int64_t{2}}});
  more.refuse({2, 3}, {"more than the batch dimension"});
}

TEST(ImportShapes, SizesCountSamples) {
  ModelText text({2, 3});
  text.node("Size", {"x"}, "all")
      .integers("six", {6})
      .integers("one", {-1})
      .node("Div", {"all", "six"}, "n")
      .node("Concat", {"n", "one"}, "shape", {{"axis", int64_t{0}}})
      .node("Reshape", {"x", "shape"}, "y");
  EXPECT_EQ(types_of(text.import({2, 3})), Types{"Reshape"});
}

/// As PyTorch's multi-head attention does it: [N, T, E] by way of [T, N, E] and [N * H, T, D].
ModelText attention_of_torch() {
  ModelText text({5, 6});
  text.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}});
  ask(text, "t", 1, "n");
  text.integers("heads", {2})
      .integers("three", {3})
      .integers("five", {5})
      .node("Mul", {"n", "heads"}, "n2")
      .node("Concat", {"five", "n2", "three"}, "to", {{"axis", int64_t{0}}})
      .node("Reshape", {"t", "to"}, "split")
      .node("Transpose", {"split"}, "q", {{"perm", Numbers{1, 0, 2}}})
      .node("Transpose", {"q"}, "k", {{"perm", Numbers{0, 2, 1}}})
      .node("MatMul", {"q", "k"}, "scores")
      .node("Softmax", {"scores"}, "shares", {{"axis", int64_t{-1}}})
      .node("MatMul", {"shares", "q"}, "answers")
      .node("Transpose", {"answers"}, "back", {{"perm", Numbers{1, 0, 2}}})
      .node("Mul", {"n", "five"}, "n5")
      .integers("six", {6})
      .node("Concat", {"n5", "six"}, "flat", {{"axis", int64_t{0}}})
      .node("Reshape", {"back", "flat"}, "rows")
      .weights("w", {4, 6})
      .weights("b", {4})
      .node("Gemm", {"rows", "w", "b"}, "out", {{"transB", int64_t{1}}})
      .integers("four", {4})
      .node("Concat", {"five", "n", "four"}, "whole", {{"axis", int64_t{0}}})
      .node("Reshape", {"out", "whole"}, "u")
      .node("Transpose", {"u"}, "y", {{"perm", Numbers{1, 0, 2}}});
  return text;
}

ModelText attention_by_dimensions() {
  ModelText text({5, 6});
  text.integers("split", {0, 5, 2, 3})
      .integers("joined", {0, 5, 6})
      .node("Reshape", {"x", "split"}, "t")
      .node("Transpose", {"t"}, "q", {{"perm", Numbers{0, 2, 1, 3}}})
      .node("Transpose", {"t"}, "k", {{"perm", Numbers{0, 2, 3, 1}}})
      .node("MatMul", {"q", "k"}, "scores")
      .node("Softmax", {"scores"}, "shares", {{"axis", int64_t{-1}}})
      .node("MatMul", {"shares", "q"}, "answers")
      .node("Transpose", {"answers"}, "back", {{"perm", Numbers{0, 2, 1, 3}}})
      .node("Reshape", {"back", "joined"}, "rows")
      .floats("w", {6, 4},
              {0.1F,  0.7F,  1.3F,  -0.2F, -0.2F, -0.8F, -1.4F, 0.3F,  0.3F,  0.9F,  1.5F,  -0.4F,
               -0.4F, -1.0F, -1.6F, 0.5F,  0.5F,  1.1F,  1.7F,  -0.6F, -0.6F, -1.2F, -0.1F, 0.7F})
      .weights("b", {4})
      .node("MatMul", {"rows", "w"}, "m")
      .node("Add", {"m", "b"}, "y");
  return text;
}

TEST(ImportShapes, TheBatchMayBeJoinedWithHeads) {
  const model::Graph joined = attention_of_torch().import({5, 6});
  const model::Graph plain = attention_by_dimensions().import({5, 6});
  const std::vector<float> x = counted(2 * 30);
  std::vector<float> arena = arena_of(joined);
  const std::vector<float> a = run(joined, arena, x);
  // The same weights, which lie [out, in] in both.
  expect_near(a, run(plain, arena, x), 1e-6F);
}

TEST(ImportShapes, JoinedBatchesAreNotTakenApartWrongly) {
  const auto reshaped = [](const Numbers& to) {
    ModelText text({4, 6});
    text.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}}).integers("to", to);
    return text.node("Reshape", {"t", "to"}, "y");
  };
  for (const Numbers& to : {Numbers{4, -1}, Numbers{2, -1, 6}, Numbers{-1, 3}})
    reshaped(to).refuse({4, 6}, {"batch is not the first dimension of its output"});
  for (const Numbers& to : {Numbers{3, -1, 8}, Numbers{5, -1}, Numbers{24, -1}})
    reshaped(to).refuse({4, 6}, {"mixes the batch"});
  ModelText along({4, 6});
  along.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}})
      .integers("to", {-1, 6})
      .node("Reshape", {"t", "to"}, "r")
      .node("Softmax", {"r"}, "y", {{"axis", int64_t{0}}});
  along.refuse({4, 6}, {"joins the batch"});
}

TEST(ImportShapes, ExpandRepeatsWhatIsOne) {
  ModelText text({1, 2});
  ask(text, "x", 0, "n");
  text.integers("three", {3})
      .integers("two", {2})
      .node("Concat", {"n", "three", "two"}, "to", {{"axis", int64_t{0}}})
      .node("Expand", {"x", "to"}, "y");
  const std::vector<float> x = counted(2);
  expect_near(computed(text, {1, 2}), {x[0], x[1], x[0], x[1], x[0], x[1]}, 0);
  ModelText ones({1, 2});
  ones.integers("to", {1, 3, 1}).node("Expand", {"x", "to"}, "y");
  expect_near(computed(ones, {1, 2}), {x[0], x[1], x[0], x[1], x[0], x[1]}, 0);
  ModelText wrong({3, 2});
  wrong.integers("to", {1, 2, 2}).node("Expand", {"x", "to"}, "y");
  wrong.refuse({3, 2}, {"does not fit [3, 2]"});
}

TEST(ImportShapes, ReducesWhereTheBatchIsSecond) {
  ModelText text({3, 2});
  text.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}})
      .node("ReduceMean", {"t"}, "y", {{"axes", Numbers{0}}, {"keepdims", int64_t{0}}});
  const std::vector<float> x = counted(6);
  expect_near(computed(text, {3, 2}), {(x[0] + x[2] + x[4]) / 3, (x[1] + x[3] + x[5]) / 3}, 1e-6F);
  ModelText batch({3, 2});
  batch.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}})
      .node("ReduceMean", {"t"}, "y", {{"axes", Numbers{1}}});
  batch.refuse({3, 2}, {"across the samples"});
}

TEST(ImportShapes, ReducingNothingByNameIsNothing) {
  ModelText text({3});
  text.node("ReduceMean", {"x"}, "r", {{"noop_with_empty_axes", int64_t{1}}}).node("Relu", {"r"}, "y");
  EXPECT_EQ(types_of(text.import({3})), Types{"Relu"});
  ModelText mean({3, 2});
  mean.node("ReduceMean", {"x"}, "y", {{"axes", Numbers{1}}, {"noop_with_empty_axes", int64_t{0}}});
  EXPECT_FALSE(mean.import({3, 2}).nodes[0].attributes.contains("noop_with_empty_axes"));
}

TEST(ImportShapes, AxesAreNamedOnce) {
  ModelText added({3});
  added.integers("axes", {1, 1}).node("Unsqueeze", {"x", "axes"}, "y");
  added.refuse({3}, {"Unsqueeze_y", "names an axis twice"});
  ModelText reduced({3, 2});
  reduced.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}})
      .node("ReduceMean", {"t"}, "y", {{"axes", Numbers{2, -1}}, {"keepdims", int64_t{0}}});
  reduced.refuse({3, 2}, {"ReduceMean_y", "names an axis twice"});
}

TEST(ImportShapes, FloatsAreNoSizes) {
  ModelText cut({4});
  cut.floats("from", {1}, {1}).integers("to", {3}).integers("axis", {1});
  cut.node("Slice", {"x", "from", "to", "axis"}, "y").refuse({4}, {"Slice_y", "no integers"});
  ModelText repeated({1});
  repeated.floats("to", {2}, {1, 3}).node("Expand", {"x", "to"}, "y");
  repeated.refuse({1}, {"Expand_y", "not of integers"});
}

TEST(ImportShapes, AFixedBatchIsTheDeclaredOne) {
  const auto reshaped = [](int64_t declared, int64_t first) {
    ModelText text({2, 6});
    auto& input = *text.message().mutable_graph()->mutable_input(0);
    auto& batch = *input.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0);
    if (declared > 0) batch.set_dim_value(declared);
    return text.integers("shape", {first, 4, 3}).node("Reshape", {"x", "shape"}, "y");
  };
  for (const int64_t size : {1, 8}) {
    const model::Graph graph = reshaped(size, size).import({2, 6});
    EXPECT_EQ(graph.values[static_cast<size_t>(graph.nodes[0].output)].shape, (Shape{4, 3}));
  }
  reshaped(8, 1).refuse({2, 6}, {"mixes the batch"});
  reshaped(0, 1).refuse({2, 6}, {"mixes the batch"});
}

}  // namespace
}  // namespace lepton::onnx
