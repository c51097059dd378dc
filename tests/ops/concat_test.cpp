// SPDX-License-Identifier: Apache-2.0
// Concat along each axis in both layouts, with gradients that are not needed; refusals.
#include "ops/harness.h"
#include "ops/placed.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec concat(std::vector<Shape> inputs, int64_t axis, Layout layout) {
  OpSpec spec{.type = "Concat", .attributes = {{"axis", axis}}, .samples = 2, .training = true};
  spec.layouts.assign(inputs.size(), layout);
  spec.inputs = std::move(inputs);
  return spec;
}

/// Element `at` (per axis) of sample s.
void check_concat(const std::vector<Shape>& inputs, size_t axis, Layout layout) {
  const OpSpec spec = completed(concat(inputs, static_cast<int64_t>(axis) + 1, layout));
  EXPECT_EQ(spec.output_layout, layout);
  check_op(spec, [&](const std::vector<Numbers>& values, const std::vector<Numbers>&) {
    Numbers y(static_cast<size_t>(2 * element_count(spec.output)));
    int64_t first = 0;
    for (size_t k = 0; k < inputs.size(); first += inputs[k++][axis])
      for (size_t s = 0; s < 2; ++s)
        for (int64_t i = 0; i < element_count(inputs[k]); ++i) {
          Shape at(inputs[k].size());
          for (size_t d = at.size(), rest = static_cast<size_t>(i); d-- > 0;) {
            at[d] = static_cast<int64_t>(rest) % inputs[k][d];
            rest /= static_cast<size_t>(inputs[k][d]);
          }
          const double value = values[k][place(inputs[k], layout, s, at)];
          at[axis] += first;
          y[place(spec.output, layout, s, at)] = value;
        }
    return y;
  });
}

TEST(Concat, AlongEachAxisInBothLayouts) {
  for (const Layout layout : {Layout::plain, Layout::channels_last}) {
    check_concat({{2, 3, 4}, {5, 3, 4}}, 0, layout);
    check_concat({{2, 3, 4}, {2, 1, 4}, {2, 2, 4}}, 1, layout);
    check_concat({{2, 3, 4}, {2, 3, 1}}, 2, layout);
    check_concat({{2, 3}, {4, 3}}, 0, layout);
  }
  check_concat({{3}, {4}}, 0, Layout::plain);
}

TEST(Concat, GivesBackWhatIsNeededOnly) {
  OpSpec spec = concat({{3}, {4}}, 1, Layout::plain);
  spec.input_needs_gradient = {false, true};
  spec = completed(spec);
  const Operands operands = random_operands(spec);
  const Results results = run_op(spec, operands);
  EXPECT_EQ(results.input_gradients[1][0], operands.output_gradient[3]);
}

TEST(Concat, Refusals) {
  expect_refused(concat({{2, 3}, {2, 4}}, 1, Layout::plain), "cannot join [2, 3] and [2, 4] along axis 1");
  expect_refused(concat({{2, 3}, {2}}, 1, Layout::plain), "cannot join [2, 3] and [2]");
  expect_refused(concat({{2, 3}, {2, 3}}, 0, Layout::plain), "no axis 0");
  expect_refused(concat({{2, 3}, {2, 3}}, 3, Layout::plain), "no axis 3");
  OpSpec spec = concat({{2, 3}, {2, 3}}, 1, Layout::plain);
  spec.attributes.clear();
  expect_refused(spec, "needs an axis");
}

}  // namespace
}  // namespace lepton::ops
