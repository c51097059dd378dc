// SPDX-License-Identifier: Apache-2.0
// Operators that become several of Lepton's: what comes out, by ONNX's definitions.
#include "onnx/import_composed.h"

#include <cmath>
#include <limits>

#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Floats = std::vector<float>;
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

TEST(ImportComposed, HardSwish) {
  ModelText text({5});
  text.node("HardSwish", {"x"}, "y");
  expect_near(computed(text, {5}, {-4, -1, 0, 1, 4}), {0, -1.0F / 3, 0, 2.0F / 3, 4}, 1e-6F);
}

TEST(ImportComposed, Erfc) {
  ModelText text({3});
  text.node("Erfc", {"x"}, "y");
  expect_near(computed(text, {3}, {-1, 0, 0.5F}), {1.842700793F, 1, 0.479500122F}, 1e-6F);
}

TEST(ImportComposed, NanAndComparisons) {
  ModelText unknown({4});
  unknown.node("IsNaN", {"x"}, "y");
  EXPECT_EQ(computed(unknown, {4}, {nan, 0, INFINITY, -1}), (Floats{1, 0, 0, 0}));
  for (const auto& [type, want] :
       std::map<std::string, Floats>{{"GreaterOrEqual", {0, 1, 1, 0}}, {"LessOrEqual", {1, 1, 0, 0}}}) {
    ModelText text({4});
    text.floats("two", {1}, {2}).node(type, {"x", "two"}, "y");
    EXPECT_EQ(computed(text, {4}, {1, 2, 3, nan}), want) << type;
    ModelText turned({4});
    turned.floats("two", {1}, {2}).node(type, {"two", "x"}, "y");
    EXPECT_EQ(computed(turned, {4}, {3, 2, 1, nan}), want) << type;
  }
}

TEST(ImportComposed, AndOr) {
  for (const auto& [type, want] :
       std::map<std::string, Floats>{{"And", {0, 0, 1, 0}}, {"Or", {1, 1, 1, 0}}}) {
    ModelText text({4});
    text.floats("one", {1}, {1}).floats("three", {1}, {3});
    text.node("Greater", {"x", "one"}, "a").node("Less", {"x", "three"}, "b").node(type, {"a", "b"}, "t");
    text.node("Cast", {"t"}, "i", {{"to", int64_t{messages::TensorProto::INT64}}})
        .node("Cast", {"i"}, "y", {{"to", int64_t{messages::TensorProto::FLOAT}}});
    EXPECT_EQ(computed(text, {4}, {0, 5, 2, nan}), want) << type;
  }
}

TEST(ImportComposed, SmallestAndNorm) {
  ModelText smallest({2, 3});
  smallest.node("ReduceMin", {"x"}, "y", {{"axes", std::vector<int64_t>{2}}, {"keepdims", int64_t{0}}});
  EXPECT_EQ(computed(smallest, {2, 3}, {3, 1, 2, -4, 0, 9}), (Floats{1, -4}));
  for (const int64_t keeps : {0, 1}) {
    ModelText norm({2, 2});
    norm.integers("last", {-1}).node("ReduceL2", {"x", "last"}, "y", {{"keepdims", keeps}});
    const model::Graph graph = norm.import({2, 2});
    expect_near(run(graph, arena_of(graph), {3, 4, 0, 0}), {5, 0}, 1e-6F);
    EXPECT_EQ(graph.values[static_cast<size_t>(graph.nodes.back().output)].shape,
              keeps == 1 ? (Shape{2, 1}) : (Shape{2}));
  }
}

/// Where all is 0, so is the gradient.
TEST(ImportComposed, TheNormOfNothingHasNoGradient) {
  ModelText text({2});
  text.integers("one", {1}).weights("w", {2, 2});
  text.node("MatMul", {"x", "w"}, "p").node("ReduceL2", {"p", "one"}, "y");
  const model::Graph graph = text.import({2});
  const std::vector<int64_t> one{1}, ids{0};
  model::Executor executor(graph, 5, one, {});
  std::vector<float> arena = arena_of(graph), sums(arena.size(), 7);
  class Sink : public model::GradientSink {
   public:
    explicit Sink(std::vector<float>& sums) : sums_(sums) {}
    void gradient(int, int64_t, std::span<const float> values) override {
      std::copy(values.begin(), values.end(), sums_.begin());
    }

   private:
    std::vector<float>& sums_;
  } sink(sums);
  for (float& x : executor.input(1, true)) x = 0;
  executor.forward(1, true, arena.data(), ids, 0);
  executor.output_gradient(1)[0] = 1;
  executor.backward(1, arena.data(), ids, 0, sink);
  EXPECT_EQ(Floats(sums.begin(), sums.begin() + 4), (Floats{0, 0, 0, 0}));
}

TEST(ImportComposed, Sum) {
  ModelText text({2});
  text.floats("one", {1}, {1}).node("Sum", {"x", "one"}, "t").node("Sum", {"t", "x", "x"}, "s");
  text.node("Sum", {"s"}, "same").node("Relu", {"same"}, "y");
  EXPECT_EQ(computed(text, {2}, {1, -2}), (Floats{4, 0}));
  ModelText three({2});
  three.floats("one", {1}, {1}).node("Sum", {"x", "x", "one"}, "y");
  three.refuse({2}, {"its input 2 must be computed"});
}

TEST(ImportComposed, DepthToSpace) {
  Floats x(8);  // 4 channels of 1 x 2
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  for (const std::string mode : {"DCR", "CRD"}) {
    ModelText text({4, 1, 2});
    text.node("DepthToSpace", {"x"}, "y", {{"blocksize", int64_t{2}}, {"mode", mode}});
    EXPECT_EQ(computed(text, {4, 1, 2}, x), (Floats{0, 2, 1, 3, 4, 6, 5, 7})) << "of one channel the same";
  }
  Floats more(16);  // 8 channels of 1 x 2 are two of 2 x 4
  for (size_t i = 0; i < more.size(); ++i) more[i] = static_cast<float>(i);
  const auto of = [&](const std::string& mode) {
    ModelText text({8, 1, 2});
    text.node("DepthToSpace", {"x"}, "y", {{"blocksize", int64_t{2}}, {"mode", mode}});
    return computed(text, {8, 1, 2}, more);
  };
  EXPECT_EQ(of("DCR"), (Floats{0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15}));
  EXPECT_EQ(of("CRD"), (Floats{0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15}));
  ModelText odd({6, 1, 2});
  odd.node("DepthToSpace", {"x"}, "y", {{"blocksize", int64_t{2}}});
  odd.refuse({6, 1, 2}, {"blocks of 2 do not fit"});
  ModelText huge({6, 1, 2});
  huge.node("DepthToSpace", {"x"}, "y", {{"blocksize", int64_t{1} << 32}});
  huge.refuse({6, 1, 2}, {"do not fit"});
}

TEST(ImportComposed, Tile) {
  ModelText text({2, 1});
  text.integers("repeats", {1, 2, 3}).node("Tile", {"x", "repeats"}, "y");
  EXPECT_EQ(computed(text, {2, 1}, {1, 2}), (Floats{1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2}));
  ModelText samples({2});
  samples.integers("repeats", {2, 1}).node("Tile", {"x", "repeats"}, "y");
  samples.refuse({2}, {"samples of the batch"});
  ModelText fewer({2});
  fewer.integers("repeats", {2}).node("Tile", {"x", "repeats"}, "y");
  fewer.refuse({2}, {"other dimensions"});
}

}  // namespace
}  // namespace lepton::onnx
