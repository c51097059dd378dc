// SPDX-License-Identifier: Apache-2.0
// Rules of operators that take parts of a value, wherever the batch is, and rows of tables.
#include "onnx/run.h"

namespace lepton::onnx {
namespace {

using Types = std::vector<std::string>;
using Numbers = std::vector<int64_t>;

TEST(ImportParts, GatherTakesWhatIsAtEqualDistances) {
  const auto gathered = [](const Numbers& places) {
    ModelText text({4, 2});
    return text.integers("i", places).node("Gather", {"x", "i"}, "y", {{"axis", int64_t{1}}});
  };
  const std::vector<float> x = counted(8);
  expect_near(computed(gathered({1, -1}), {4, 2}), {x[2], x[3], x[6], x[7]}, 0);
  expect_near(computed(gathered({2}), {4, 2}), {x[4], x[5]}, 0);
  gathered({0, 1, 3}).refuse({4, 2}, {"equal distances"});
  gathered({1, 0}).refuse({4, 2}, {"equal distances"});
  ModelText samples({4, 2});
  samples.integers("i", {0}).node("Gather", {"x", "i"}, "y");
  samples.refuse({4, 2}, {"gathers samples of the batch"});
}

TEST(ImportParts, SliceLeavesTheBatchWhole) {
  ModelText text({4, 2});
  text.integers("starts", {0, 1})
      .integers("ends", {INT64_MAX, 3})
      .node("Slice", {"x", "starts", "ends"}, "y");
  const std::vector<float> x = counted(8);
  expect_near(computed(text, {4, 2}), {x[2], x[3], x[4], x[5]}, 0);
  ModelText all({4, 2});
  ask(all, "x", 0, "n");
  all.integers("zero", {0}).node("Slice", {"x", "zero", "n", "zero"}, "s").node("Relu", {"s"}, "y");
  EXPECT_EQ(types_of(all.import({4, 2})), Types{"Relu"});
  ModelText some({4, 2});
  some.integers("zero", {0}).integers("two", {2}).node("Slice", {"x", "zero", "two", "zero"}, "y");
  some.refuse({4, 2}, {"cuts samples out of the batch"});
}

TEST(ImportParts, SplitGivesParts) {
  ModelText text({6});
  text.integers("sizes", {2, 4}).node("Split", {"x", "sizes"}, "a", {{"axis", int64_t{-1}}});
  text.last().add_output("y");
  const std::vector<float> x = counted(6);
  expect_near(computed(text, {6}), {x[2], x[3], x[4], x[5]}, 0);
}

TEST(ImportParts, IndicesAndPartsAreInside) {
  for (const int64_t place : {-5, 4}) {
    ModelText text({4, 2});
    text.integers("i", {place}).node("Gather", {"x", "i"}, "y", {{"axis", int64_t{1}}});
    text.refuse({4, 2}, {"Gather_y", "outside of 4"});
  }
  ModelText parts({6});
  parts.integers("sizes", {-1, 7}).node("Split", {"x", "sizes"}, "a", {{"axis", int64_t{1}}});
  parts.last().add_output("y");
  parts.refuse({6}, {"its parts do not fit"});
}

/// Along the first axis it is a Gather, as PyTorch writes x[:, [-1]] of a turned x.
TEST(ImportParts, GatherNdOfOneAxis) {
  const auto gathered = [](const Shape& indices, const ops::Attributes& attributes) {
    ModelText text({3, 2});
    write_integers("i", indices, {-1}, *text.message().mutable_graph()->add_initializer());
    text.node("Transpose", {"x"}, "t", {{"perm", Numbers{1, 0, 2}}})
        .node("GatherND", {"t", "i"}, "g", attributes)
        .node("Transpose", {"g"}, "y", {{"perm", Numbers{1, 0, 2}}});
    return text;
  };
  const model::Graph graph = gathered({1, 1}, {}).import({3, 2});
  EXPECT_EQ(graph.values[static_cast<size_t>(graph.nodes.back().output)].shape, (Shape{1, 2}));
  expect_near(run(graph, arena_of(graph), {1, 2, 3, 4, 5, 6}), {5, 6}, 0);
  gathered({1}, {}).refuse({3, 2}, {"Transpose_y"});  // [N, 2] has no third dimension
  gathered({1, 1}, {{"batch_dims", int64_t{1}}}).refuse({3, 2}, {"more than one axis"});
}

TEST(ImportParts, ASplitMayBeASequence) {
  const auto split = [](const Shape& shape, const Numbers& sizes, int64_t place) {
    ModelText text({5});
    write_integers("s", shape, sizes, *text.message().mutable_graph()->add_initializer());
    write_integers("p", {}, {place}, *text.message().mutable_graph()->add_initializer());
    text.node("SplitToSequence", {"x", "s"}, "q", {{"axis", int64_t{1}}})
        .node("SequenceAt", {"q", "p"}, "part")
        .node("Relu", {"part"}, "y");
    return text;
  };
  const auto part = [&](const Shape& shape, const Numbers& sizes, int64_t place) {
    const model::Graph graph = split(shape, sizes, place).import({5});
    EXPECT_EQ(types_of(graph), (Types{"Slice", "Relu"})) << "the other parts are left out";
    return run(graph, arena_of(graph), {1, 2, 3, 4, 5});
  };
  EXPECT_EQ(part({2}, {2, 3}, 1), (std::vector<float>{3, 4, 5}));
  EXPECT_EQ(part({}, {2}, -1), (std::vector<float>{5}));
  EXPECT_EQ(part({}, {2}, 0), (std::vector<float>{1, 2}));
  EXPECT_EQ(part({1}, {5}, 0), (std::vector<float>{1, 2, 3, 4, 5}));
  split({}, {2}, 3).refuse({5}, {"outside of the sequence"});
  split({}, {0}, 0).refuse({5}, {"nothing in them"});
  split({2}, {2, 2}, 0).refuse({5}, {"its parts do not fit"});
  ModelText sum({5});
  sum.integers("s", {2, 3}).node("SplitToSequence", {"x", "s"}, "q", {{"axis", int64_t{1}}});
  sum.node("Add", {"x", "q"}, "y").refuse({5}, {"its input 1 is a sequence"});
  ModelText other({5});
  other.integers("p", {0}).node("SequenceAt", {"x", "p"}, "y");
  other.refuse({5}, {"no split of a tensor"});
}

/// Columns of a table that number rows of others.
TEST(ImportParts, RowsByOneNumberAreVectors) {
  ModelText text({2});
  text.weights("t", {4, 3}).weights("u", {6, 3});
  for (const int64_t column : {0, 1})
    write_integers("c" + std::to_string(column), {}, {column},
                   *text.message().mutable_graph()->add_initializer());
  text.node("Gather", {"x", "c0"}, "a", {{"axis", int64_t{1}}})
      .node("Gather", {"x", "c1"}, "b", {{"axis", int64_t{1}}})
      .node("Gather", {"t", "a"}, "v")
      .node("Gather", {"u", "b"}, "w")
      .node("Add", {"v", "w"}, "y");
  const model::Graph graph = text.import({2});
  EXPECT_EQ(graph.outputs(), 3);
  EXPECT_EQ(graph.values[static_cast<size_t>(graph.nodes.back().output)].shape, Shape{3});
  // rows of three in tenths, of alternating signs
  expect_near(run(graph, arena_of(graph), {1, 5}), {-0.4F - 1.6F, 0.5F + 1.7F, -0.6F - 0.1F}, 1e-6F);
  EXPECT_EQ(model::table_rows(graph).safe, 4);
  EXPECT_EQ(model::table_rows(graph).below, 0);
  EXPECT_EQ(model::table_rows(graph).columns, (Numbers{4, 6}));
}

/// What turns them leaves it to the network to refuse wrong ones.
TEST(ImportParts, RowsByNumbersThatAreTurnedFirst) {
  ModelText text({4});
  text.weights("t", {4, 3}).integers("shape", {0, 2, 2}).integers("flat", {0, -1});
  text.integers("zero", {0}).integers("two", {2}).integers("one", {1});
  text.node("Reshape", {"x", "shape"}, "a")
      .node("Transpose", {"a"}, "b", {{"perm", Numbers{0, 2, 1}}})
      .node("Reshape", {"b", "flat"}, "c")
      .node("Slice", {"c", "zero", "two", "one"}, "d")
      .node("Gather", {"t", "d"}, "y");
  const model::TableRows rows = model::table_rows(text.import({4}));
  EXPECT_EQ(rows.safe, 4);
  EXPECT_EQ(rows.below, 0);
  EXPECT_EQ(rows.columns, Numbers{});
}

}  // namespace
}  // namespace lepton::onnx
