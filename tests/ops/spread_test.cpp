// SPDX-License-Identifier: Apache-2.0
// Expand and the Reduce operators against sums by index, in both layouts; maxima that are equal, NaN.
#include "ops/spread.h"

#include <limits>

#include "ops/placed.h"

namespace lepton::ops {
namespace {

using namespace testing;

OpSpec reduction(const char* type, const Shape& input, std::vector<int64_t> axes, int64_t keep,
                 Layout layout) {
  return {.type = type,
          .attributes = {{"axes", std::move(axes)}, {"keepdims", keep}},
          .samples = 2,
          .training = true,
          .inputs = {input},
          .layouts = {layout}};
}

/// The index of the result for an element of the input.
Shape reduced_index(const OpSpec& spec, const Shape& at) {
  std::vector<bool> reduced(at.size(), false);
  for (const int64_t axis : ints_attribute(spec.attributes, "axes", {}))
    reduced[static_cast<size_t>(axis > 0 ? axis - 1 : axis + std::ssize(at))] = true;
  Shape index;
  for (size_t d = 0; d < at.size(); ++d)
    if (!reduced[d])
      index.push_back(at[d]);
    else if (int_attribute(spec.attributes, "keepdims", 1) == 1)
      index.push_back(0);
  if (index.empty()) index.push_back(0);
  return index;
}

void check_reduction(const OpSpec& open) {
  const OpSpec spec = completed(open);
  check_op(spec, [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
    const auto count = static_cast<size_t>(spec.samples * element_count(spec.output));
    const bool largest = spec.type == "ReduceMax";
    Numbers y(count, largest ? -1e30 : 0.0);
    for (int64_t s = 0; s < spec.samples; ++s)
      for_each_index(spec.inputs[0], [&](const Shape& at) {
        double& to = y[place(spec.output, spec.output_layout, s, reduced_index(spec, at))];
        const double x = inputs[0][place(spec.inputs[0], spec.layouts[0], s, at)];
        to = largest ? std::max(to, x) : to + x;
      });
    if (spec.type == "ReduceMean")
      for (double& value : y) value *= static_cast<double>(count) / static_cast<double>(inputs[0].size());
    return y;
  });
}

TEST(Spread, Reductions) {
  for (const char* type : {"ReduceSum", "ReduceMean", "ReduceMax"})
    for (const int64_t keep : {0, 1})
      for (const Layout layout : {Layout::plain, Layout::channels_last})
        for (const std::vector<int64_t>& axes :
             std::vector<std::vector<int64_t>>{{1}, {2}, {3}, {-1}, {-3}, {2, 3}, {1, 3}, {1, 2, 3}})
          check_reduction(reduction(type, {2, 3, 4}, axes, keep, layout));
  check_reduction(reduction("ReduceMean", {37}, {1}, 0, Layout::plain));
  check_reduction(reduction("ReduceSum", {7, 3}, {1}, 0, Layout::plain));
}

TEST(Spread, KeptDimensionsKeepTheirOrderInMemory) {
  const OpSpec spec = completed(reduction("ReduceSum", {3, 4, 5}, {2}, 0, Layout::channels_last));
  EXPECT_EQ(spec.output, (Shape{3, 5}));
  EXPECT_EQ(spec.output_layout, Layout::channels_last);
  EXPECT_EQ(completed(reduction("ReduceSum", {3, 4, 5}, {1}, 0, Layout::channels_last)).output_layout,
            Layout::plain);
}

TEST(Spread, TheFirstOfEqualMaximaHasTheGradient) {
  OpSpec spec = completed(reduction("ReduceMax", {4}, {1}, 1, Layout::plain));
  Operands operands = random_operands(spec);
  operands.inputs[0] = {1, 3, 3, 2, -1, -1, -5, -1};
  operands.output_gradient = {5, 7};
  EXPECT_EQ(run_op(spec, operands).input_gradients[0], (Floats{0, 5, 0, 0, 7, 0, 0, 0}));
}

TEST(Spread, MaximaKeepNaN) {
  const OpSpec spec = completed(reduction("ReduceMax", {4}, {1}, 1, Layout::plain));
  Operands operands = random_operands(spec);
  operands.inputs[0] = {1, NAN, 3, 2, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
  const Results results = run_op(spec, operands);
  EXPECT_TRUE(std::isnan(results.output[0]));
  EXPECT_EQ(results.output[1], -INFINITY);
}

TEST(Spread, Expand) {
  for (const Layout layout : {Layout::plain, Layout::channels_last})
    for (const auto& [input, shape] : std::initializer_list<std::pair<Shape, Shape>>{{{3, 1, 5}, {3, 4, 5}},
                                                                                     {{1, 4, 1}, {3, 1, 5}},
                                                                                     {{1, 1, 1}, {2, 3, 4}},
                                                                                     {{3, 1}, {4}},
                                                                                     {{3, 5}, {1, 1}}}) {
      const OpSpec spec = completed({.type = "Expand",
                                     .attributes = {{"shape", shape}},
                                     .samples = 2,
                                     .training = true,
                                     .inputs = {input},
                                     .layouts = {layout}});
      check_op(spec, [&](const std::vector<Numbers>& inputs, const std::vector<Numbers>&) {
        Numbers y(static_cast<size_t>(2 * element_count(spec.output)));
        for (int64_t s = 0; s < 2; ++s)
          for_each_index(spec.output, [&](const Shape& at) {
            y[place(spec.output, layout, s, at)] =
                inputs[0][place(spec.inputs[0], layout, s, broadcast_index(spec.inputs[0], at))];
          });
        return y;
      });
    }
}

}  // namespace
}  // namespace lepton::ops
