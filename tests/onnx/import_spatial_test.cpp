// SPDX-License-Identifier: Apache-2.0
// Resize with all that ONNX has as inputs, and GroupNormalization with a scale for each channel or each
// group.
#include <cmath>

#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Numbers = std::vector<int64_t>;
using Types = std::vector<std::string>;
using Scales = std::vector<double>;

const ops::Attributes repeated = {{"mode", std::string("nearest")},
                                  {"coordinate_transformation_mode", std::string("asymmetric")},
                                  {"nearest_mode", std::string("floor")}};

ModelText resized(const std::vector<float>& scales, ops::Attributes attributes = repeated,
                  int64_t opset = 18) {
  ModelText text({1, 2, 2}, opset);
  return text.floats("scales", {std::ssize(scales)}, scales)
      .node("Resize", {"x", "", "scales"}, "y", attributes);
}

TEST(ImportSpatial, ScalesOfAllAxes) {
  const model::Graph graph = resized({1, 1, 2, 1.5F}).import({1, 2, 2});
  EXPECT_EQ(graph.nodes.front().attributes.at("scales"), ops::Attribute(Scales{2, 1.5}));
  EXPECT_EQ(graph.nodes.front().attributes.at("axes"), ops::Attribute(Numbers{2, 3}));
  expect_near(run(graph, {}, {1, 2, 3, 4}), {1, 1, 2, 1, 1, 2, 3, 3, 4, 3, 3, 4}, 0);
}

TEST(ImportSpatial, AxesAndModesCount) {
  ops::Attributes last = repeated;
  last["axes"] = Numbers{-1};
  expect_near(run(resized({2}, last).import({1, 2, 2}), {}, {1, 2, 3, 4}), {1, 1, 2, 2, 3, 3, 4, 4}, 0);
  const model::Graph linear = resized({1, 1, 1, 2}, {{"mode", std::string("linear")}}).import({1, 2, 2});
  expect_near(run(linear, {}, {1, 2, 3, 4}), {1, 1.25F, 1.75F, 2, 3, 3.25F, 3.75F, 4}, 1e-6F);
  ModelText same = resized({1, 1, 1, 1});
  same.last().set_output(0, "r");
  EXPECT_EQ(types_of(same.node("Relu", {"r"}, "y").import({1, 2, 2})), Types{"Relu"});
}

TEST(ImportSpatial, SizesMayHoldTheBatch) {
  ModelText text({1, 2, 2});
  text.node("Shape", {"x"}, "shape")
      .integers("zero", {0})
      .integers("two", {2})
      .node("Slice", {"shape", "zero", "two"}, "front")
      .integers("wanted", {4, 2})
      .node("Concat", {"front", "wanted"}, "sizes", {{"axis", int64_t{0}}})
      .floats("none", {0}, {})
      .node("Resize", {"x", "none", "none", "sizes"}, "y", repeated);
  const model::Graph graph = text.import({1, 2, 2});
  EXPECT_EQ(graph.nodes.front().attributes.at("sizes"), ops::Attribute(Numbers{4}));
  expect_near(run(graph, {}, {1, 2, 3, 4}), {1, 2, 1, 2, 3, 4, 3, 4}, 0);
}

TEST(ImportSpatial, AspectRatiosAreKept) {
  const auto kept = [](const std::string& policy, const Numbers& sizes) {
    ModelText text({1, 2, 2}, 18);
    ops::Attributes attributes = repeated;
    attributes["axes"] = Numbers{2, 3};
    attributes["keep_aspect_ratio_policy"] = policy;
    text.integers("sizes", sizes).node("Resize", {"x", "", "", "sizes"}, "y", attributes);
    return text;
  };
  const auto shape = [&](const std::string& policy) {
    return kept(policy, {6, 4}).import({1, 2, 2}).values.back().shape;
  };
  EXPECT_EQ(shape("stretch"), (Shape{1, 6, 4}));
  EXPECT_EQ(shape("not_larger"), (Shape{1, 4, 4}));
  EXPECT_EQ(shape("not_smaller"), (Shape{1, 6, 6}));
  kept("wider", {6, 4}).refuse({1, 2, 2}, {"keep_aspect_ratio_policy \"wider\""});
}

TEST(ImportSpatial, ResizeRefusals) {
  resized({2, 1, 2, 2}).refuse({1, 2, 2}, {"Resize_y (Resize): it changes the batch"});
  resized({2, 2}).refuse({1, 2, 2}, {"do not fit its axes"});
  resized({1, 1, 2, 2}, {{"mode", std::string("cubic")}}).refuse({1, 2, 2}, {"no mode \"cubic\""});
  const ops::Attributes corners = {{"coordinate_transformation_mode", std::string("align_corners")}};
  resized({1, 1, 1, 1.7F}, corners).refuse({1, 2, 2}, {"align_corners", "whole size"});
  EXPECT_EQ(resized({1, 1, 1, 1.5F}, corners).import({1, 2, 2}).values.back().shape, (Shape{1, 2, 3}));
  resized({1, 1, 2, 2}, {{"antialias", int64_t{1}}}).refuse({1, 2, 2}, {"antialias"});
  ModelText neither({1, 2, 2});
  neither.node("Resize", {"x"}, "y").refuse({1, 2, 2}, {"either scales or sizes"});
}

/// Two samples of four channels in two groups.
ModelText normalised(const std::vector<float>& scale, const std::vector<float>& bias,
                     bool initializers = true) {
  ModelText text({4, 3}, 21);
  if (initializers) {
    text.floats("scale", {std::ssize(scale)}, scale).floats("bias", {std::ssize(bias)}, bias);
  } else {
    for (const auto& [name, values] : {std::pair{"scale", scale}, {"bias", bias}})
      text.node("Constant", {}, name, {{"value_floats", std::vector<double>(values.begin(), values.end())}});
  }
  return text.node("GroupNormalization", {"x", "scale", "bias"}, "y", {{"num_groups", int64_t{2}}});
}

TEST(ImportSpatial, GroupNormOfChannels) {
  const std::vector<float> scale{1, 2, 3, 4}, bias{0, 1, 0, 1}, x = counted(12);
  std::vector<float> expected;
  for (size_t c = 0; c < 4; ++c) {
    const size_t first = c / 2 * 6;  // of its group
    float mean = 0, variance = 0;
    for (size_t i = first; i < first + 6; ++i) mean += x[i] / 6;
    for (size_t i = first; i < first + 6; ++i) variance += (x[i] - mean) * (x[i] - mean) / 6;
    for (size_t i = 3 * c; i < 3 * c + 3; ++i)
      expected.push_back(scale[c] * (x[i] - mean) / std::sqrt(variance + 1e-5F) + bias[c]);
  }
  const model::Graph graph = normalised(scale, bias).import({4, 3});
  EXPECT_EQ(graph.layout.tensors().size(), 2U);
  expect_near(run(graph, arena_of(graph), x), expected, 1e-5F);
}

TEST(ImportSpatial, GroupNormOfGroupsLearnsAsTheFileHasIt) {
  const std::vector<float> x = counted(24);
  const model::Graph groups = normalised({2, 3}, {1, -1}).import({4, 3});
  const model::Graph channels = normalised({2, 2, 3, 3}, {1, 1, -1, -1}).import({4, 3});
  expect_near(run(groups, arena_of(groups), x), run(channels, arena_of(channels), x), 1e-6F);
  int learned = 0;
  for (const ArenaTensor& tensor : groups.layout.tensors()) {
    if (tensor.frozen) continue;
    ++learned;
    EXPECT_EQ(tensor.shape, (Shape{2, 1})) << tensor.name;
  }
  EXPECT_EQ(learned, 2);
}

/// As PyTorch writes it for opset 18: what learns stands behind it.
TEST(ImportSpatial, GroupNormOfOnesDoesNotLearn) {
  ModelText text = normalised({1, 1}, {0, 0}, false);
  text.last().set_output(0, "n");
  const model::Graph graph = text.weights("weight", {4, 1}).node("Mul", {"n", "weight"}, "y").import({4, 3});
  for (const ArenaTensor& tensor : graph.layout.tensors()) EXPECT_EQ(tensor.frozen, tensor.name != "weight");
  normalised({1, 2, 3}, {0, 0, 0}).refuse({4, 3}, {"GroupNormalization_y", "neither for each channel"});
  normalised({1, 2}, {0, 0, 0, 0}).refuse({4, 3}, {"scale and bias do not fit"});
}

/// Two groups of two channels, as PyTorch writes them; `between`: by Reshapes, else as they are.
model::Graph normalised_instances(bool between, const std::vector<float>& scale) {
  ModelText text(between ? Shape{4, 3} : Shape{2, 6});
  text.floats("scale", {2}, scale)
      .floats("bias", {2}, {0, 0})
      .integers("groups", {0, 2, -1})
      .integers("whole", {0, 4, 3});
  if (between) text.node("Reshape", {"x", "groups"}, "g");
  text.node("InstanceNormalization", {between ? "g" : "x", "scale", "bias"}, between ? "n" : "y");
  if (between) text.node("Reshape", {"n", "whole"}, "y");
  return text.import(between ? Shape{4, 3} : Shape{2, 6});
}

TEST(ImportSpatial, ScalesThatAnExporterMadeUpDoNotLearn) {
  EXPECT_TRUE(normalised_instances(true, {1, 1}).layout.tensors()[0].frozen);
  EXPECT_FALSE(normalised_instances(true, {1, 2}).layout.tensors()[0].frozen);
  EXPECT_FALSE(normalised_instances(false, {1, 1}).layout.tensors()[0].frozen);
  ModelText text({2, 6});
  text.node("Constant", {}, "scale", {{"value_floats", std::vector<double>{1, 1}}})
      .node("Constant", {}, "bias", {{"value_floats", std::vector<double>{0, 0}}})
      .node("InstanceNormalization", {"x", "scale", "bias"}, "y");
  EXPECT_TRUE(text.import({2, 6}).layout.tensors()[1].frozen);
}

/// Of what the batch is joined with [2, 3, 4] stays, behind it [T, heads, D] has 4 in the last place.
TEST(ImportSpatial, ResizeWhereTheBatchIsJoined) {
  ModelText text({2, 6}, 18);
  text.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}})
      .node("Transpose", {"x"}, "u", {{"perm", Numbers{1, 0, 2}}})
      .integers("joined", {2, -1, 3})
      .integers("whole", {2, -1, 12})
      .floats("scales", {3}, {1, 1, 2})
      .node("Reshape", {"t", "joined"}, "j")
      .node("Resize", {"j", "", "scales"}, "r", repeated)
      .node("Reshape", {"r", "whole"}, "w")
      .node("Transpose", {"w"}, "y", {{"perm", Numbers{1, 0, 2}}});
  const model::Graph graph = text.import({2, 6});
  const std::vector<float> x = counted(24);
  std::vector<float> expected;
  for (const float value : x) expected.insert(expected.end(), 2, value);
  expect_near(run(graph, arena_of(graph), x), expected, 0);
}

TEST(ImportSpatial, AxesThatKeepTheirSizesCountForTheAspectRatio) {
  const auto kept = [](const std::string& policy, const ops::Attributes& more, const Numbers& sizes) {
    ModelText text({1, 4, 8}, 18);
    ops::Attributes attributes = repeated;
    attributes.insert(more.begin(), more.end());
    attributes["keep_aspect_ratio_policy"] = policy;
    text.integers("sizes", sizes)
        .node("Resize", {"x", "", "", "sizes"}, "r", attributes)
        .node("Relu", {"r"}, "y");
    return text;
  };
  const auto shape = [&](const std::string& policy) {
    const model::Graph graph = kept(policy, {{"axes", Numbers{2, 3}}}, {8, 8}).import({1, 4, 8});
    return graph.values[static_cast<size_t>(graph.nodes.back().output)].shape;
  };
  EXPECT_EQ(shape("not_larger"), (Shape{1, 4, 8}));
  EXPECT_EQ(shape("not_smaller"), (Shape{1, 8, 16}));
  // All axes, the batch and the channel among them.
  EXPECT_EQ(types_of(kept("not_larger", {}, {1, 1, 8, 8}).import({1, 4, 8})), Types{"Relu"});
  kept("not_smaller", {}, {1, 1, 8, 8}).refuse({1, 4, 8}, {"it changes the batch"});
  kept("not_larger", {{"axes", Numbers{2, -2}}}, {8, 8}).refuse({1, 4, 8}, {"names an axis twice"});
}

}  // namespace
}  // namespace lepton::onnx
