// SPDX-License-Identifier: Apache-2.0
// Folding of operators that move elements.
#include "onnx/fold_moves.h"

#include "onnx/folds.h"

namespace lepton::onnx {
namespace {

using Numbers = std::vector<int64_t>;

Constant matrix() {
  Constant constant = list({1, 2, 3, 4, 5, 6});
  constant.shape = {2, 3};
  return constant;
}

TEST(FoldMoves, TransposeTurnsAndRemembersIt) {
  Constant weights = float_constant({2, 3}, {1, 2, 3, 4, 5, 6});
  weights.origin = "w";
  const Constant turned = folded("Transpose", {weights}, {{"perm", Numbers{1, 0}}});
  EXPECT_EQ(turned.shape, (Shape{3, 2}));
  EXPECT_EQ(turned.floats, (std::vector<float>{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(turned.origin, "w");
  EXPECT_EQ(turned.sources, (std::vector<int32_t>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(folded("Transpose", {turned}, {{"perm", Numbers{1, 0}}}).sources,
            (std::vector<int32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(folded("Transpose", {matrix()}).numbers(), (Numbers{1, 4, 2, 5, 3, 6}));
  expect_no_fold("no permutation", "Transpose", {matrix()}, {{"perm", Numbers{0, 0}}});
}

TEST(FoldMoves, ShapesChange) {
  EXPECT_EQ(folded("Reshape", {matrix(), list({-1, 2})}).shape, (Shape{3, 2}));
  EXPECT_EQ(folded("Reshape", {matrix(), list({0, 3, 1})}).shape, (Shape{2, 3, 1}));
  EXPECT_EQ(folded("Unsqueeze", {matrix(), list({0, -1})}).shape, (Shape{1, 2, 3, 1}));
  const Constant wide = folded("Unsqueeze", {matrix(), list({1})});
  EXPECT_EQ(folded("Squeeze", {wide}).shape, (Shape{2, 3}));
  EXPECT_EQ(folded("Squeeze", {wide, list({1})}).shape, (Shape{2, 3}));
  EXPECT_EQ(folded("Identity", {matrix()}).shape, (Shape{2, 3}));
  expect_no_fold("does not fit", "Reshape", {matrix(), list({4, 2})});
  expect_no_fold("does not fit", "Squeeze", {matrix(), list({0})});
}

TEST(FoldMoves, PartsAndSums) {
  EXPECT_EQ(folded("Gather", {matrix(), list({-1, 0})}, {{"axis", int64_t{1}}}).numbers(),
            (Numbers{3, 1, 6, 4}));
  EXPECT_EQ(folded("Gather", {list({7, 8, 9}), integer_constant({}, {{2}})}).shape, Shape{});
  EXPECT_EQ(folded("Concat", {matrix(), matrix()}, {{"axis", int64_t{1}}}).numbers(),
            (Numbers{1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6}));
  EXPECT_EQ(folded("Slice", {matrix(), list({1}), list({INT64_MAX}), list({1}), list({1})}).numbers(),
            (Numbers{2, 3, 5, 6}));
  EXPECT_EQ(folded("Slice", {list({1, 2, 3, 4}), list({0}), list({-1}), list({0}), list({2})}).numbers(),
            (Numbers{1, 3}));
  EXPECT_EQ(folded("Expand", {list({1, 2}), list({2, 1})}).numbers(), (Numbers{1, 2, 1, 2}));
  expect_no_fold("index", "Gather", {list({7}), list({1})});
  const auto backwards = [](int64_t start, int64_t end, int64_t step) {
    return folded("Slice", {list({1, 2, 3, 4}), list({start}), list({end}), list({0}), list({step})})
        .numbers();
  };
  EXPECT_EQ(backwards(-1, INT64_MIN, -1), (Numbers{4, 3, 2, 1}));
  EXPECT_EQ(backwards(9, 0, -2), (Numbers{4, 2}));
  EXPECT_EQ(backwards(0, 3, -1), (Numbers{}));
  EXPECT_EQ(backwards(0, 4, INT64_MAX), (Numbers{1}));
  expect_no_fold("step is 0", "Slice", {list({7}), list({0}), list({1}), list({0}), list({0})});
  expect_no_fold("do not fit", "Concat", {matrix(), list({1})}, {{"axis", int64_t{0}}});
}

TEST(FoldMoves, FindsMovesOnly) {
  EXPECT_NE(folding::find_move("Slice"), nullptr);
  EXPECT_EQ(folding::find_move("Add"), nullptr);
}

}  // namespace
}  // namespace lepton::onnx
