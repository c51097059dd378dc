// SPDX-License-Identifier: Apache-2.0
// Folding of functions, comparisons, sizes and triangles.
#include <cmath>

#include "onnx/folds.h"

namespace lepton::onnx {
namespace {

using Numbers = std::vector<int64_t>;

TEST(FoldFunctions, OfOneTensor) {
  EXPECT_EQ(folded("Exp", {float_constant({2}, {0, 1})}).floats, (std::vector<float>{1, std::exp(1.0F)}));
  EXPECT_EQ(folded("Sqrt", {float_constant({}, {16})}).floats, (std::vector<float>{4}));
  EXPECT_EQ(folded("Neg", {list({3, -4})}).numbers(), (Numbers{-3, 4}));
  EXPECT_EQ(folded("Abs", {list({3, -4})}).numbers(), (Numbers{3, 4}));
  EXPECT_EQ(folded("Not", {list({1, 0})}).numbers(), (Numbers{0, 1}));
  Constant learned = float_constant({1}, {4});
  learned.origin = "w";
  EXPECT_EQ(folded("Neg", {learned}).origin, "");
  expect_no_fold("of integers", "Exp", {list({1})});
  expect_no_fold("truth values", "Not", {float_constant({}, {1})});
}

TEST(FoldFunctions, Comparisons) {
  EXPECT_EQ(folded("Less", {list({1, 2, 3}), list({2})}).numbers(), (Numbers{1, 0, 0}));
  EXPECT_EQ(folded("LessOrEqual", {list({1, 2, 3}), list({2})}).numbers(), (Numbers{1, 1, 0}));
  EXPECT_EQ(folded("Greater", {list({1, 2, 3}), list({2})}).numbers(), (Numbers{0, 0, 1}));
  EXPECT_EQ(folded("GreaterOrEqual", {float_constant({2}, {1, 2}), float_constant({}, {2})}).numbers(),
            (Numbers{0, 1}));
  EXPECT_EQ(folded("Equal", {float_constant({2}, {1, 2}), float_constant({}, {2})}).numbers(),
            (Numbers{0, 1}));
  EXPECT_EQ(folded("Equal", {integer_constant({}, {{1, true}}), list({1})}).numbers(), (Numbers{0}));
  EXPECT_EQ(folded("And", {list({1, 1, 0}), list({1, 0, 0})}).numbers(), (Numbers{1, 0, 0}));
  EXPECT_EQ(folded("Or", {list({1, 1, 0}), list({1, 0, 0})}).numbers(), (Numbers{1, 1, 0}));
  EXPECT_EQ(folded("Xor", {list({1, 1, 0}), list({1, 0, 0})}).numbers(), (Numbers{0, 1, 0}));
  expect_no_fold("batch size", "Less", {integer_constant({}, {{1, true}}), list({2})});
  expect_no_fold("types", "Less", {list({1}), float_constant({1}, {1})});
}

TEST(FoldFunctions, SizesOfConstants) {
  Constant tokens = float_constant({1, 2}, {5, 6});
  EXPECT_EQ(folded("Shape", {tokens}).numbers(), (Numbers{1, 2}));
  EXPECT_EQ(folded("Shape", {tokens}, {{"start", int64_t{-1}}}).numbers(), (Numbers{2}));
  EXPECT_EQ(folded("Size", {tokens}).numbers(), (Numbers{2}));
  const Constant repeated = folded("Expand", {tokens, integer_constant({2}, {{1, true}, {2}})});
  EXPECT_EQ(repeated.batch_axis, 0);
  EXPECT_EQ(repeated.floats, tokens.floats);
  EXPECT_EQ(folded("Shape", {repeated}).integers, (std::vector<Count>{{1, true}, {2}}));
  EXPECT_EQ(folded("ReduceProd", {folded("Shape", {repeated})}).integers, (std::vector<Count>{{2, true}}));
  expect_no_fold("squares", "ReduceProd", {integer_constant({2}, {{1, true}, {1, true}})});
  expect_no_fold("repeats for the samples", "Expand", {tokens, integer_constant({2}, {{2}, {1, true}})});
}

TEST(FoldFunctions, Triangles) {
  const Constant ones = float_constant({2, 3}, std::vector<float>(6, 1));
  EXPECT_EQ(folded("Trilu", {ones}).floats, (std::vector<float>{1, 1, 1, 0, 1, 1}));
  EXPECT_EQ(folded("Trilu", {ones}, {{"upper", int64_t{0}}}).floats, (std::vector<float>{1, 0, 0, 1, 1, 0}));
  EXPECT_EQ(folded("Trilu", {ones, integer_constant({}, {{1}})}).floats,
            (std::vector<float>{0, 1, 1, 0, 0, 1}));
  expect_no_fold("matrices", "Trilu", {list({1})});
  expect_no_fold("not one number", "Trilu", {ones, list({})});
  expect_no_fold("outside", "Trilu", {ones, list({INT64_MIN})});
}

}  // namespace
}  // namespace lepton::onnx
