// SPDX-License-Identifier: Apache-2.0
// Transpose: every element goes where perm says, between both layouts, and its gradient comes back; what
// moves nothing works in place.
#include "ops/harness.h"
#include "ops/placed.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec transposed(const Shape& input, std::vector<int64_t> perm, Layout layout) {
  return {.type = "Transpose",
          .attributes = {{"perm", std::move(perm)}},
          .samples = 2,
          .training = true,
          .inputs = {input},
          .layouts = {layout}};
}

void check_permute(const Shape& input, const std::vector<int64_t>& perm, Layout layout) {
  const OpSpec spec = completed(transposed(input, perm, layout));
  check_op(spec, [&](const std::vector<Numbers>& values, const std::vector<Numbers>&) {
    Numbers y(values[0].size());
    for (size_t s = 0; s < 2; ++s)
      for (int64_t i = 0; i < element_count(input); ++i) {
        Shape at(input.size()), to(input.size());
        for (size_t d = at.size(), rest = static_cast<size_t>(i); d-- > 0;) {
          at[d] = static_cast<int64_t>(rest) % input[d];
          rest /= static_cast<size_t>(input[d]);
        }
        for (size_t d = 0; d < to.size(); ++d) to[d] = at[static_cast<size_t>(perm[d + 1]) - 1];
        y[place(spec.output, spec.output_layout, s, to)] = values[0][place(input, layout, s, at)];
      }
    return y;
  });
}

TEST(Transpose, AllOrdersInBothLayouts) {
  for (const Layout layout : {Layout::plain, Layout::channels_last}) {
    check_permute({3, 5}, {0, 2, 1}, layout);
    check_permute({3, 5}, {0, 1, 2}, layout);
    for (const std::vector<int64_t>& perm : {std::vector<int64_t>{0, 1, 2, 3},
                                             {0, 1, 3, 2},
                                             {0, 2, 1, 3},
                                             {0, 2, 3, 1},
                                             {0, 3, 1, 2},
                                             {0, 3, 2, 1}})
      check_permute({2, 3, 4}, perm, layout);
    check_permute({2, 3, 2, 4}, {0, 3, 1, 4, 2}, layout);
    check_permute({2, 3, 2, 4}, {0, 1, 3, 2, 4}, layout);
    check_permute({2, 1, 4}, {0, 3, 2, 1}, layout);
  }
  check_permute({17, 33}, {0, 2, 1}, Layout::plain);
  check_permute({4}, {0, 1}, Layout::plain);
}

TEST(Transpose, OfASequenceMovesNothing) {
  const auto planned = [](const Shape& input, const std::vector<int64_t>& perm, Layout layout) {
    return completed(transposed(input, perm, layout));
  };
  const OpSpec there = planned({7, 5}, {0, 2, 1}, Layout::plain);
  EXPECT_EQ(there.output, (Shape{5, 7}));
  EXPECT_EQ(there.output_layout, Layout::channels_last);
  EXPECT_TRUE(make_op(there)->in_place());
  const OpSpec back = planned({5, 7}, {0, 2, 1}, Layout::channels_last);
  EXPECT_EQ(back.output_layout, Layout::plain);
  EXPECT_TRUE(make_op(back)->in_place());
  EXPECT_TRUE(make_op(planned({4, 5, 3}, {0, 3, 1, 2}, Layout::plain))->in_place());
  EXPECT_FALSE(make_op(planned({4, 5, 3}, {0, 2, 1, 3}, Layout::plain))->in_place());
}

TEST(Transpose, Refusals) {
  expect_refused(transposed({2, 3}, {1, 0, 2}, Layout::plain), "keeps the batch dimension");
  expect_refused(transposed({2, 3}, {0, 2, 2}, Layout::plain), "does not order");
  expect_refused(transposed({2, 3}, {0, 2, 1, 3}, Layout::plain), "does not order");
  OpSpec spec = transposed({2, 3}, {}, Layout::plain);
  spec.attributes.clear();
  expect_refused(spec, "needs perm");
}

}  // namespace
}  // namespace lepton::ops
