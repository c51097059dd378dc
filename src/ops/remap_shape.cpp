// SPDX-License-Identifier: Apache-2.0
// The rules of a Slice, Pad or Resize from its attributes; see remap.h. What ONNX gives as inputs are
// attributes here: starts, ends, axes, steps; pads, mode, value; scales or sizes. Lists for all dimensions
// have the batch first, as ONNX; it stays as it is.
#include "ops/remap.h"

#include <algorithm>
#include <limits>

namespace lepton::ops {

namespace {

using Rules = std::vector<AxisRule>;

Rules unchanged(const Shape& shape) {
  Rules rules;
  for (const int64_t size : shape) rules.push_back({.in = size, .out = size});
  return rules;
}

std::string numbered(const OpSpec& spec, const char* attribute) {
  return spec.type + " " + attribute + " ";
}

/// Axes that the attribute names, from 0 on; absent: all of them, with the batch as -1.
Shape axes_or_all(const OpSpec& spec) {
  const auto rank = std::ssize(spec.inputs[0]);
  Shape axes = ints_attribute(spec.attributes, "axes", {});
  const bool all = axes.empty();
  if (all)
    for (int64_t axis = 0; axis <= rank; ++axis) axes.push_back(axis);
  for (int64_t& axis : axes) axis = all ? axis - 1 : sample_axis_of(spec, "axes", axis, rank);
  Shape sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  require_shape(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
                spec.type + " has an axis twice");
  return axes;
}

/// Of one axis, numpy's rule: negative numbers count from the end, what is outside is cut.
AxisRule slice_of(const OpSpec& spec, int64_t size, int64_t start, int64_t end, int64_t step) {
  require_shape(step != 0, "Slice cannot have steps of 0");
  step = std::clamp(step, -size, size);  // so that no product overflows
  if (start < 0) start += size;
  if (end < 0) end += size;
  start = step > 0 ? std::clamp<int64_t>(start, 0, size) : std::clamp<int64_t>(start, -1, size - 1);
  end = step > 0 ? std::clamp<int64_t>(end, 0, size) : std::clamp<int64_t>(end, -1, size - 1);
  const int64_t out = step > 0 ? (end - start + step - 1) / step : (start - end - step - 1) / -step;
  require_shape(out > 0, "Slice leaves nothing of its input " + shape_text(spec.inputs[0]));
  return {.kind = AxisKind::slice, .in = size, .out = out, .start = start, .step = step};
}

Rules slice_rules(const OpSpec& spec) {
  const Shape starts = ints_attribute(spec.attributes, "starts", {});
  const Shape ends = ints_attribute(spec.attributes, "ends", {}), &input = spec.inputs[0];
  const Shape steps = ints_attribute(spec.attributes, "steps", Shape(starts.size(), 1));
  require_shape(spec.attributes.contains("axes"), "Slice needs axes: without them, it would cut the batch");
  const Shape axes = axes_or_all(spec);
  require_shape(axes.size() == starts.size() && ends.size() == starts.size() && steps.size() == starts.size(),
                "Slice needs as many starts, ends and steps as axes");
  Rules rules = unchanged(input);
  for (size_t k = 0; k < axes.size(); ++k) {
    const auto d = static_cast<size_t>(axes[k]);
    const AxisRule rule = slice_of(spec, input[d], starts[k], ends[k], steps[k]);
    if (rule.out != rule.in || rule.step != 1) rules[d] = rule;
  }
  return rules;
}

Rules pad_rules(const OpSpec& spec) {
  const std::string mode = string_attribute(spec.attributes, "mode", "constant");
  AxisKind kind = AxisKind::pad_constant;
  if (mode == "edge") kind = AxisKind::pad_edge;
  if (mode == "reflect") kind = AxisKind::pad_reflect;
  require_shape(mode == "constant" || kind != AxisKind::pad_constant,
                "Pad has no mode \"" + mode + "\": there are constant, reflect and edge");
  const Shape axes = axes_or_all(spec), pads = ints_attribute(spec.attributes, "pads", {});
  require_shape(pads.size() == 2 * axes.size(), numbered(spec, "pads") + shape_text(pads) + " are not " +
                                                    std::to_string(2 * axes.size()) + " numbers");
  Rules rules = unchanged(spec.inputs[0]);
  for (size_t k = 0; k < axes.size(); ++k) {
    const int64_t before = pads[k], behind = pads[k + axes.size()];
    require_shape(axes[k] >= 0 || (before == 0 && behind == 0), "Pad cannot add samples to the batch");
    if (before == 0 && behind == 0) continue;
    AxisRule& rule = rules[static_cast<size_t>(axes[k])];
    const int64_t most = kind == AxisKind::pad_reflect ? rule.in - 1 : int64_t{1} << 40;
    require_shape(
        before <= most && behind <= most,
        "Pad cannot reflect more than there is: " + shape_text(pads) + " of " + shape_text(spec.inputs[0]));
    rule.kind = kind;
    rule.out = rule.in + before + behind;
    rule.start = before;
    require_shape(before >= -rule.in && behind >= -rule.in && rule.out >= 1,
                  "Pad leaves nothing of its input " + shape_text(spec.inputs[0]));
  }
  return rules;
}

AxisRule resize_rule(const OpSpec& spec) {
  const std::string mode = string_attribute(spec.attributes, "mode", "nearest");
  const std::string coordinates =
      string_attribute(spec.attributes, "coordinate_transformation_mode", "half_pixel");
  const std::string rounding = string_attribute(spec.attributes, "nearest_mode", "round_prefer_floor");
  require_shape(mode == "nearest" || mode == "linear",
                "Resize has no mode \"" + mode + "\": there are nearest and linear");
  require_shape(int_attribute(spec.attributes, "antialias", 0) == 0, "Resize has no antialias");
  static const char* const kinds[] = {"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"};
  static const char* const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
  const auto kind = std::find(std::begin(kinds), std::end(kinds), coordinates) - std::begin(kinds);
  const auto way = std::find(std::begin(roundings), std::end(roundings), rounding) - std::begin(roundings);
  require_shape(kind < std::ssize(kinds), "Resize has no coordinate_transformation_mode \"" + coordinates +
                                              "\": there are half_pixel, asymmetric, align_corners and "
                                              "pytorch_half_pixel");
  require_shape(way < std::ssize(roundings),
                "Resize has no nearest_mode \"" + rounding +
                    "\": there are round_prefer_floor, round_prefer_ceil, floor and ceil");
  return {.kind = mode == "linear" ? AxisKind::linear : AxisKind::nearest,
          .coordinates = static_cast<Coordinates>(kind),
          .rounding = static_cast<Rounding>(way)};
}

Rules resize_rules(const OpSpec& spec) {
  const AxisRule common = resize_rule(spec);
  const Shape axes = axes_or_all(spec), sizes = ints_attribute(spec.attributes, "sizes", {});
  const std::vector<double> scales = floats_attribute(spec.attributes, "scales", {});
  require_shape(sizes.empty() != scales.empty(), "Resize needs either scales or sizes");
  require_shape(sizes.size() + scales.size() == axes.size(),
                "Resize needs " + std::to_string(axes.size()) + (sizes.empty() ? " scales" : " sizes"));
  Rules rules = unchanged(spec.inputs[0]);
  for (size_t k = 0; k < axes.size(); ++k) {
    if (axes[k] < 0) {
      require_shape(sizes.empty() ? scales[k] == 1 : sizes[k] <= 1, "Resize cannot change the batch");
      continue;
    }
    AxisRule& rule = rules[static_cast<size_t>(axes[k])];
    const double in = static_cast<double>(rule.in);
    const double out = sizes.empty() ? std::floor(in * scales[k]) : static_cast<double>(sizes[k]);
    require_shape(out >= 1 && out <= 0x1p40,
                  "Resize leaves nothing, or too much, of its input " + shape_text(spec.inputs[0]));
    const double scale = sizes.empty() ? scales[k] : out / in;
    if (scale == 1) continue;
    const int64_t size = rule.in;
    rule = common;
    rule.in = size;
    rule.out = static_cast<int64_t>(out);
    rule.scale = scale;
  }
  return rules;
}

}  // namespace

Rules axis_rules(const OpSpec& spec) {
  if (spec.type == "Slice") return slice_rules(spec);
  return spec.type == "Pad" ? pad_rules(spec) : resize_rules(spec);
}

Remap remap_of(const OpSpec& spec) {
  Rules rules = axis_rules(spec);
  if (spec.layouts[0] == Layout::channels_last) std::rotate(rules.begin(), rules.begin() + 1, rules.end());
  rules.insert(rules.begin(), {.in = spec.samples, .out = spec.samples});
  Remap result;
  result.value = static_cast<float>(float_attribute(spec.attributes, "constant_value", 0));
  for (const AxisRule& rule : rules) {
    result.in_count *= rule.in;
    result.out_count *= rule.out;
    const bool same = rule.kind == AxisKind::same;
    if (result.axes > 0 && same && result.rule[result.axes - 1].kind == AxisKind::same) {
      result.rule[result.axes - 1].in *= rule.in;
      result.rule[result.axes - 1].out *= rule.out;
      continue;
    }
    require_shape(result.axes < remapped_most, spec.type + " of too many dimensions");
    result.rule[result.axes++] = rule;
  }
  return result;
}

Shape infer_remap(const OpSpec& spec) {
  Shape output;
  for (const AxisRule& rule : axis_rules(spec)) output.push_back(rule.out);
  return output;
}

}  // namespace lepton::ops
