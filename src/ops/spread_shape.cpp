// SPDX-License-Identifier: Apache-2.0
// Shapes of Expand and of the Reduce operators; see spread.h. Axes and dimensions count without the batch,
// whose number is 0 in ONNX; the attribute shape of Expand leaves it out.
#include <algorithm>

#include "ops/spread.h"

namespace lepton::ops {

namespace {

/// Which dimensions of a sample are reduced.
std::vector<bool> reduced_axes(const OpSpec& spec) {
  const auto rank = std::ssize(spec.inputs[0]);
  const std::vector<int64_t> axes = ints_attribute(spec.attributes, "axes", {});
  require_shape(!axes.empty(), spec.type + " needs axes: without them, it would reduce the batch dimension");
  std::vector<bool> reduced(static_cast<size_t>(rank), false);
  for (const int64_t axis : axes)
    reduced[static_cast<size_t>(sample_axis_of(spec, "axes", axis, rank))] = true;
  return reduced;
}

Shape reduced_shape(const OpSpec& spec, bool keep) {
  const std::vector<bool> reduced = reduced_axes(spec);
  Shape output;
  for (size_t d = 0; d < reduced.size(); ++d)
    if (!reduced[d] || keep) output.push_back(reduced[d] ? 1 : spec.inputs[0][d]);
  if (output.empty()) output.push_back(1);  // a sample keeps one dimension
  return output;
}

}  // namespace

Broadcast spread_of(const OpSpec& spec) {
  if (spec.type == "Expand")
    return broadcast_of(spec.samples, spec.output, spec.output_layout, {{spec.inputs[0]}});
  return broadcast_of(spec.samples, spec.inputs[0], spec.layouts[0], {{reduced_shape(spec, true)}});
}

Shape infer_reduce(const OpSpec& spec) {
  const int64_t keep = int_attribute(spec.attributes, "keepdims", 1);
  require_shape(keep == 0 || keep == 1, spec.type + " keepdims is 0 or 1");
  return reduced_shape(spec, keep == 1);
}

/// The dimensions that stay keep their order in memory.
Layouts lay_reduce(const OpSpec& spec) {
  const bool keeps = int_attribute(spec.attributes, "keepdims", 1) == 1 || !reduced_axes(spec).front();
  return {spec.layouts, keeps && spec.output.size() > 1 ? spec.layouts[0] : Layout::plain};
}

Shape infer_expand(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  const Shape shape = ints_attribute(spec.attributes, "shape", {});
  require_shape(
      !shape.empty() && shape.size() <= input.size(),
      "Expand needs a shape without the batch dimension, of at most as many dimensions as its input " +
          shape_text(input));
  Shape output = input;
  for (size_t d = 0; d < shape.size(); ++d) {
    int64_t& own = output[output.size() - shape.size() + d];
    require_shape(shape[d] >= 1 && (own == shape[d] || own == 1 || shape[d] == 1),
                  "Expand cannot make " + shape_text(shape) + " of " + shape_text(input));
    own = std::max(own, shape[d]);
  }
  return output;
}

Shape infer_squeeze(const OpSpec& spec) {
  const Shape& input = spec.inputs[0];
  const std::vector<int64_t> axes = ints_attribute(spec.attributes, "axes", {});
  std::vector<bool> drop(input.size(), false);
  for (size_t d = 0; d < input.size(); ++d) drop[d] = axes.empty() && input[d] == 1;
  for (const int64_t axis : axes) {
    const auto d = static_cast<size_t>(sample_axis_of(spec, "axes", axis, std::ssize(input)));
    require_shape(input[d] == 1, "Squeeze cannot drop axis " + std::to_string(axis) + " of its input " +
                                     shape_text(input) + ", which is not 1");
    drop[d] = true;
  }
  Shape output;
  for (size_t d = 0; d < input.size(); ++d)
    if (!drop[d]) output.push_back(input[d]);
  if (output.empty()) output.push_back(1);
  return output;
}

Shape infer_unsqueeze(const OpSpec& spec) {
  const std::vector<int64_t> axes = ints_attribute(spec.attributes, "axes", {});
  require_shape(!axes.empty(), "Unsqueeze needs axes");
  std::vector<bool> added(spec.inputs[0].size() + axes.size(), false);
  for (const int64_t axis : axes) {
    const auto d = static_cast<size_t>(sample_axis_of(spec, "axes", axis, std::ssize(added)));
    require_shape(!added[d], "Unsqueeze has axis " + std::to_string(axis) + " twice");
    added[d] = true;
  }
  Shape output;
  for (size_t d = 0, from = 0; d < added.size(); ++d) output.push_back(added[d] ? 1 : spec.inputs[0][from++]);
  return output;
}

}  // namespace lepton::ops
