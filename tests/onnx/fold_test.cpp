// SPDX-License-Identifier: Apache-2.0
// Folding of operators that make or compute numbers, the batch size among them.
#include "onnx/folds.h"

namespace lepton::onnx {
namespace {

using Numbers = std::vector<int64_t>;
const Count batch{1, true};

TEST(Fold, KnowsItsOperators) {
  EXPECT_TRUE(folds("Concat"));
  EXPECT_TRUE(folds("Mul"));
  EXPECT_FALSE(folds("Conv"));
}

TEST(Fold, ArithmeticBroadcasts) {
  const Constant column = integer_constant({2, 1}, {{10}, {20}});
  const Constant sum = folded("Add", {column, list({1, 2, 3})});
  EXPECT_EQ(sum.shape, (Shape{2, 3}));
  EXPECT_EQ(sum.numbers(), (Numbers{11, 12, 13, 21, 22, 23}));
  EXPECT_EQ(folded("Sub", {list({5}), list({7})}).numbers(), (Numbers{-2}));
  EXPECT_EQ(folded("Div", {list({7}), list({2})}).numbers(), (Numbers{3}));
  EXPECT_EQ(folded("Mod", {list({7, -7, 6, 7}), list({3, 3, 3, -3})}).numbers(), (Numbers{1, 2, 0, -2}));
  expect_no_fold("divides by 0", "Mod", {list({1}), list({0})});
  expect_no_fold("fmod", "Mod", {list({1}), list({2})}, {{"fmod", int64_t{1}}});
  EXPECT_EQ(folded("Max", {float_constant({2}, {1, 5}), float_constant({}, {3})}).floats,
            (std::vector<float>{3, 5}));
  EXPECT_EQ(folded("Min", {float_constant({2}, {1, 5}), float_constant({}, {3})}).floats,
            (std::vector<float>{1, 3}));
  EXPECT_EQ(folded("Pow", {float_constant({}, {3}), float_constant({}, {2})}).floats,
            (std::vector<float>{9}));
  EXPECT_EQ(folded("Sqrt", {float_constant({}, {16})}).floats, (std::vector<float>{4}));
  EXPECT_EQ(folded("Equal", {list({1, 2}), list({1, 3})}).numbers(), (Numbers{1, 0}));
  EXPECT_EQ(folded("Where", {list({1, 0}), list({5, 6}), list({7, 8})}).numbers(), (Numbers{5, 8}));
  expect_no_fold("do not broadcast", "Add", {list({1, 2}), list({1, 2, 3})});
  expect_no_fold("divides by 0", "Div", {list({1}), list({0})});
  expect_no_fold("types", "Add", {list({1}), float_constant({1}, {1})});
}

TEST(Fold, TheBatchSizeStaysAFactor) {
  const Constant n = integer_constant({}, {batch});
  EXPECT_EQ(folded("Mul", {n, list({6})}).integers, (std::vector<Count>{{6, true}}));
  EXPECT_EQ(folded("Div", {integer_constant({1}, {{6, true}}), list({2})}).integers,
            (std::vector<Count>{{3, true}}));
  EXPECT_EQ(folded("Div", {integer_constant({1}, {{6, true}}), n}).numbers(), (Numbers{6}));
  expect_no_fold("adds to the batch", "Add", {n, list({1})});
  expect_no_fold("squares", "Mul", {n, n});
  expect_no_fold("divides the batch", "Div", {n, list({2})});
  expect_no_fold("divides by the batch", "Div", {list({2}), n});
}

TEST(Fold, MakesNumbers) {
  messages::NodeProto node;
  node.set_op_type("Constant");
  write_attribute("value_ints", Numbers{4, 5}, node);
  EXPECT_EQ(fold(node, {}).numbers(), (Numbers{4, 5}));
  const Constant range = folded("Range", {list({1}), list({6}), list({2})});
  EXPECT_EQ(range.numbers(), (Numbers{1, 3, 5}));
  EXPECT_EQ(range.shape, Shape{3});
  EXPECT_EQ(folded("ConstantOfShape", {list({2, 2})}).floats, (std::vector<float>(4, 0)));
  EXPECT_EQ(folded("Cast", {float_constant({2}, {2.7F, -1})}, {{"to", int64_t{7}}}).numbers(),
            (Numbers{2, -1}));
  EXPECT_EQ(folded("Cast", {list({3})}, {{"to", int64_t{1}}}).floats, (std::vector<float>{3}));
  EXPECT_EQ(folded("Cast", {float_constant({2}, {0.5F, 0})}, {{"to", int64_t{9}}}).numbers(),
            (Numbers{1, 0}));
  EXPECT_EQ(folded("Max", {list({3, 1}), list({2})}).numbers(), (Numbers{3, 2}));
  EXPECT_EQ(folded("Min", {list({3, 1}), list({2}), list({0})}).numbers(), (Numbers{0, 0}));
  EXPECT_EQ(folded("CastLike", {list({3}), float_constant({1}, {0})}).floats, (std::vector<float>{3}));
  EXPECT_EQ(folded("CastLike", {float_constant({1}, {2.7F}), list({0})}).numbers(), (Numbers{2}));
  expect_no_fold("too large", "ConstantOfShape", {list({int64_t{1} << 30, 8})});
  expect_no_fold("too large", "Range", {list({0}), list({int64_t{1} << 50}), list({1})});
  expect_no_fold("negative", "ConstantOfShape", {list({-1})});
}

TEST(Fold, MaxAndMinTakeAnyNumber) {
  const Constant a = float_constant({2}, {1, 5}), b = float_constant({}, {3}), c = float_constant({}, {4});
  EXPECT_EQ(folded("Max", {a, b, c}).floats, (std::vector<float>{4, 5}));
  EXPECT_EQ(folded("Min", {c, b, a}).floats, (std::vector<float>{1, 3}));
  EXPECT_EQ(folded("Max", {a}).floats, a.floats);
  expect_no_fold("two inputs", "Add", {a, b, c});
  expect_no_fold("missing", "Max", {});
}

TEST(Fold, RangesOfTheLeastNumber) {
  expect_no_fold("too large", "Range", {list({INT64_MIN}), list({0}), list({1})});
  expect_no_fold("too large", "Range", {list({0}), list({1}), list({INT64_MIN})});
}

}  // namespace
}  // namespace lepton::onnx
