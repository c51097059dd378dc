// SPDX-License-Identifier: Apache-2.0
// Concat of values and of learned tokens.
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

ModelText with_token() {
  ModelText text({2, 3});
  text.weights("token", {1, 1, 3})
      .integers("zero", {0})
      .integers("rest", {-1, -1})
      .integers("minus", {-1})
      .node("Shape", {"x"}, "shape")
      .node("Gather", {"shape", "zero"}, "n")
      .node("Concat", {"n", "rest"}, "asked", {{"axis", int64_t{0}}})
      .integers("three", {3})
      .node("ConstantOfShape", {"three"}, "ones");
  auto& one = *text.last().add_attribute();
  one.set_name("value");
  one.set_type(messages::AttributeProto::TENSOR);
  write_integers("", {1}, {1}, *one.mutable_t());
  // As PyTorch writes token.expand(n, -1, -1).
  text.node("Equal", {"asked", "minus"}, "open")
      .node("Where", {"open", "ones", "asked"}, "to")
      .node("Expand", {"token", "to"}, "tokens")
      .node("Concat", {"tokens", "x"}, "y", {{"axis", int64_t{1}}});
  return text;
}

TEST(ImportJoin, ALearnedTokenStandsInFrontOfEachSample) {
  const model::Graph graph = with_token().import({2, 3});
  ASSERT_EQ(graph.layout.tensors().size(), 1u);
  EXPECT_EQ(graph.layout.tensors()[0].name, "token");
  EXPECT_FALSE(graph.layout.tensors()[0].frozen);
  expect_near(run(graph, arena_of(graph), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}),
              {.1F, -.2F, .3F, 1, 2, 3, 4, 5, 6, .1F, -.2F, .3F, 7, 8, 9, 10, 11, 12}, 1e-6F);
}

TEST(ImportJoin, ConstantsThatDoNotFitAreRefused) {
  ModelText text({2, 3});
  text.weights("token", {2, 1, 3}).node("Concat", {"token", "x"}, "y", {{"axis", int64_t{1}}});
  text.refuse({2, 3}, {"the constant token of shape [2, 1, 3] does not fit"});
}

TEST(ImportJoin, ValuesAreJoinedByTheTable) {
  ModelText text({2, 3});
  text.node("Relu", {"x"}, "r").node("Concat", {"r", "x"}, "y", {{"axis", int64_t{-1}}});
  const model::Graph graph = text.import({2, 3});
  expect_near(run(graph, {}, {-1, 2, -3, 4, -5, 6}), {0, 2, 0, -1, 2, -3, 4, 0, 6, 4, -5, 6}, 0);
}

}  // namespace
}  // namespace lepton::onnx
