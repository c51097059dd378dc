// SPDX-License-Identifier: Apache-2.0
// Where values meet whose batch is at other places, or that have fewer dimensions; and where constants stand.
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Types = std::vector<std::string>;
using Numbers = std::vector<int64_t>;

ModelText turned(const Shape& shape) {
  ModelText text(shape);
  text.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}});
  return text;
}

TEST(ImportAppend, OperatorsThatTakeSamplesWantThemFirst) {
  ModelText conv = turned({3, 8});
  conv.weights("w", {2, 3, 3}).node("Conv", {"t", "w"}, "y", {{"kernel_shape", Numbers{3}}});
  conv.refuse({3, 8}, {"Conv_y", "the batch is not the first dimension of its input"});
  ModelText pad = turned({3, 8});
  pad.integers("pads", {0, 0, 1, 0, 0, 1}).node("Pad", {"t", "pads"}, "y");
  pad.refuse({3, 8}, {"the batch is not the first dimension of its input"});
}

TEST(ImportAppend, NothingIsComputedAcrossSamples) {
  ModelText norm = turned({3, 8});
  norm.weights("s", {1, 8}).node("LayerNormalization", {"t", "s"}, "y", {{"axis", int64_t{1}}});
  norm.refuse({3, 8}, {"across the samples of the batch"});
  ModelText product = turned({3, 8});
  product.node("Transpose", {"t"}, "u", {{"perm", Numbers{0, 2, 1}}}).node("MatMul", {"t", "u"}, "y");
  product.refuse({3, 8}, {"batch dimension at different places"});
}

TEST(ImportAppend, FewerDimensionsAreAlignedBehind) {
  ModelText text({2, 3});
  text.integers("to", {-1})
      .node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}})
      .node("ReduceMean", {"t"}, "m", {{"axes", Numbers{0}}, {"keepdims", int64_t{0}}})
      .node("Sub", {"t", "m"}, "d")
      .node("Transpose", {"d"}, "y", {{"perm", Numbers{1, 0, 2}}});
  const model::Graph graph = text.import({2, 3});
  expect_near(run(graph, arena_of(graph), {1, 2, 3, 5, 6, 9}), {-2, -2, -3, 2, 2, 3}, 1e-6F);
}

TEST(ImportAppend, ConstantsStayAtTheirPlaces) {
  const std::vector<float> x = {-2, -1, 1, 2};
  const auto chosen = [&](const std::vector<std::string>& inputs) {
    ModelText text({4});
    text.floats("zero", {1}, {0})
        .floats("a", {4}, {10, 11, 12, 13})
        .integers("mask", {0, 1, 0, 1})
        .floats("low", {1}, {-5})
        .node("Greater", {"x", "zero"}, "positive")
        .node("Where", inputs, "y");
    const model::Graph graph = text.import({4});
    return run(graph, arena_of(graph), x);
  };
  EXPECT_EQ(chosen({"positive", "low", "x"}), (std::vector<float>{-2, -1, -5, -5}));
  EXPECT_EQ(chosen({"positive", "x", "low"}), (std::vector<float>{-5, -5, 1, 2}));
  EXPECT_EQ(chosen({"positive", "low", "a"}), (std::vector<float>{10, 11, -5, -5}));
  EXPECT_EQ(chosen({"mask", "x", "a"}), (std::vector<float>{10, -1, 12, 2}));
  EXPECT_EQ(chosen({"mask", "a", "x"}), (std::vector<float>{-2, 11, 1, 13}));
}

}  // namespace
}  // namespace lepton::onnx
