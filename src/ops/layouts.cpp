// SPDX-License-Identifier: Apache-2.0
// The rules of layouts; see the header.
#include "ops/layouts.h"

#include <algorithm>

#include "ops/operators.h"

namespace lepton::ops {

namespace {

Layout for_channels(const Shape& shape) {
  return shape.size() > 1 ? Layout::channels_last : Layout::plain;
}

Layouts all(const OpSpec& spec, Layout layout) {
  return {std::vector<Layout>(spec.inputs.size(), layout), layout};
}

}  // namespace

Layouts lay_plain(const OpSpec& spec) {
  return all(spec, Layout::plain);
}

Layouts lay_as_first(const OpSpec& spec) {
  return all(spec, spec.layouts.front());
}

Layouts lay_channels_last(const OpSpec& spec) {
  Layouts layouts{{}, for_channels(spec.output)};
  for (const Shape& shape : spec.inputs) layouts.inputs.push_back(for_channels(shape));
  return layouts;
}

Layouts lay_by_parameter(const OpSpec& spec) {
  const Shape &parameter = spec.parameters.front(), &input = spec.inputs.front();
  if (element_count(parameter) == 1) return lay_as_first(spec);
  const bool channels =
      input.size() > 1 && parameter.size() == input.size() && parameter.front() == element_count(parameter);
  return channels ? lay_channels_last(spec) : lay_plain(spec);
}

Layouts lay_layer_norm(const OpSpec& spec) {
  return spec.parameters.front().size() == spec.inputs.front().size() ? lay_as_first(spec) : lay_plain(spec);
}

Layouts lay_softmax(const OpSpec& spec) {
  const int64_t axis = sample_axis(spec, "axis", -1);
  return axis + 1 == std::ssize(spec.inputs[0]) ? lay_plain(spec) : lay_channels_last(spec);
}

Layouts lay_reshape(const OpSpec& spec) {
  return {spec.layouts, Layout::plain};
}

Layouts lay_identity(const OpSpec& spec) {
  return {spec.layouts, spec.output_layout};
}

Shape in_memory(const Shape& shape, Layout layout) {
  Shape dimensions = shape;
  if (layout == Layout::channels_last)
    std::rotate(dimensions.begin(), dimensions.begin() + 1, dimensions.end());
  return dimensions;
}

int64_t innermost(const Shape& shape, Layout layout) {
  return layout == Layout::channels_last ? shape.front() : shape.back();
}

}  // namespace lepton::ops
