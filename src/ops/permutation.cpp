// SPDX-License-Identifier: Apache-2.0
// Axes of a Transpose and what they do in memory; see the header. Also the rule of layouts of Transpose: what
// moves nothing is taken where there is such a layout.
#include "ops/permutation.h"

#include <algorithm>
#include <numeric>

namespace lepton::ops {

namespace {

using Axes = std::vector<int64_t>;

/// Axes as they lie, outermost first.
Axes laid(Axes axes, Layout layout) {
  if (layout == Layout::channels_last) std::rotate(axes.begin(), axes.begin() + 1, axes.end());
  return axes;
}

/// Axes of the input in the order in which they lie, before and behind; without those of one element.
struct Orders {
  Axes input, output;
};
Orders orders(const OpSpec& spec, Layout output) {
  const Shape& shape = spec.inputs[0];
  Axes all(shape.size());
  std::iota(all.begin(), all.end(), 0);
  Orders result{laid(all, spec.layouts[0]), laid(permuted_axes(spec), output)};
  const auto single = [&](int64_t axis) { return shape[static_cast<size_t>(axis)] == 1; };
  std::erase_if(result.input, single);
  std::erase_if(result.output, single);
  return result;
}

}  // namespace

Axes permuted_axes(const OpSpec& spec) {
  const auto rank = std::ssize(spec.inputs[0]);
  Axes axes = ints_attribute(spec.attributes, "perm", {});
  if (axes.empty()) {
    require_shape(rank == 1, "Transpose needs perm: without it, it would move the batch dimension");
    return {0};
  }
  Axes sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  Axes expected(static_cast<size_t>(rank) + 1);
  std::iota(expected.begin(), expected.end(), 0);
  require_shape(sorted == expected, "Transpose perm " + shape_text(axes) + " does not order the batch and " +
                                        shape_text(spec.inputs[0]));
  require_shape(axes.front() == 0,
                "Transpose keeps the batch dimension where it is, but perm is " + shape_text(axes));
  axes.erase(axes.begin());
  for (int64_t& axis : axes) --axis;
  return axes;
}

Permutation permutation_of(const OpSpec& spec) {
  const Shape& shape = spec.inputs[0];
  const Orders order = orders(spec, spec.output_layout);
  Shape step(shape.size(), 1);
  int64_t inner = 1;
  for (auto axis = order.input.rbegin(); axis != order.input.rend(); ++axis) {
    step[static_cast<size_t>(*axis)] = inner;
    inner *= shape[static_cast<size_t>(*axis)];
  }
  std::vector<std::pair<int64_t, int64_t>> joined;  // size and step
  for (const int64_t axis : order.output) {
    const int64_t size = shape[static_cast<size_t>(axis)], own = step[static_cast<size_t>(axis)];
    if (!joined.empty() && joined.back().second == own * size)
      joined.back() = {joined.back().first * size, own};
    else
      joined.emplace_back(size, own);
  }
  Permutation result;
  require_shape(std::ssize(joined) <= permuted_most, "Transpose of too many dimensions");
  for (const auto& [size, own] : joined) {
    result.size[result.dimensions] = size;
    result.from[result.dimensions++] = own;
  }
  return result;
}

Permutation Permutation::inverse() const {
  // Dimensions of the source in order: those with the largest steps first.
  std::vector<int> order(static_cast<size_t>(dimensions));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return from[a] > from[b]; });
  int64_t step[permuted_most], inner = 1;
  for (int d = dimensions; d-- > 0; inner *= size[d]) step[d] = inner;
  Permutation back;
  for (const int d : order) {
    back.size[back.dimensions] = size[d];
    back.from[back.dimensions++] = step[d];
  }
  return back;
}

Layouts lay_transpose(const OpSpec& spec) {
  for (const Layout layout : {Layout::plain, Layout::channels_last}) {
    const Orders order = orders(spec, layout);
    if (order.input == order.output && (layout == Layout::plain || spec.output.size() > 1))
      return {spec.layouts, layout};
  }
  return {spec.layouts, Layout::plain};
}

Shape infer_transpose(const OpSpec& spec) {
  Shape output;
  for (const int64_t axis : permuted_axes(spec)) output.push_back(spec.inputs[0][static_cast<size_t>(axis)]);
  return output;
}

}  // namespace lepton::ops
