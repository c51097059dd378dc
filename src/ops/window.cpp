// SPDX-License-Identifier: Apache-2.0
// Sliding windows of convolutions and pools: ONNX attributes with their defaults, checked, automatic pads,
// and the output size. Declared in operators.h; called by conv and pool.
#include <algorithm>

#include "ops/operators.h"

namespace lepton::ops {

/// auto_pad SAME_UPPER and SAME_LOWER: as many outputs as the input divided by the stride, rounded up; an odd
/// pad goes to the end or to the beginning.
static void pad_same(bool lower, const Shape& input, Window& window) {
  for (size_t axis = 0; axis < window.axes; ++axis) {
    const int64_t size = input[axis + 1], stride = window.stride[axis];
    const int64_t outputs = (size + stride - 1) / stride;
    const int64_t total = std::max<int64_t>((outputs - 1) * stride + window.reach(axis) - size, 0);
    window.pad_begin[axis] = lower ? total - total / 2 : total / 2;
    window.pad_end[axis] = total - window.pad_begin[axis];
  }
}

std::vector<int64_t> kernel_of(const Shape& weights) {
  return {weights.begin() + std::min<int64_t>(2, std::ssize(weights)), weights.end()};
}

Window parse_window(const OpSpec& spec, const std::vector<int64_t>& kernel) {
  const Attributes& a = spec.attributes;
  const Shape& input = spec.inputs[0];
  require_shape(input.size() >= 2 && input.size() <= axes_max + 1,
                spec.type +
                    " needs channels and one to three dimensions, as [channels, height, width], not " +
                    shape_text(input));
  Window window{};
  window.axes = input.size() - 1;
  const size_t axes = window.axes;
  const auto size = ints_attribute(a, "kernel_shape", kernel);
  const auto stride = ints_attribute(a, "strides", std::vector<int64_t>(axes, 1));
  const auto dilation = ints_attribute(a, "dilations", std::vector<int64_t>(axes, 1));
  const auto pads = ints_attribute(a, "pads", std::vector<int64_t>(2 * axes, 0));
  require_shape(
      size.size() == axes && stride.size() == axes && dilation.size() == axes && pads.size() == 2 * axes,
      spec.type + " of " + shape_text(input) + " needs kernel_shape, strides and dilations of " +
          std::to_string(axes) + " numbers and pads of " + std::to_string(2 * axes));
  for (size_t axis = 0; axis < axes; ++axis) {
    require_shape(size[axis] >= 1 && stride[axis] >= 1 && dilation[axis] >= 1,
                  spec.type + " needs kernel, strides and dilations of at least 1");
    require_shape(pads[axis] >= 0 && pads[axis + axes] >= 0, spec.type + " cannot have negative pads");
    window.kernel[axis] = size[axis];
    window.stride[axis] = stride[axis];
    window.dilation[axis] = dilation[axis];
    window.pad_begin[axis] = pads[axis];
    window.pad_end[axis] = pads[axis + axes];
  }
  const std::string automatic = string_attribute(a, "auto_pad", "NOTSET");
  if (automatic == "NOTSET" || automatic == "VALID") return window;
  require_shape(automatic == "SAME_UPPER" || automatic == "SAME_LOWER",
                spec.type + " has no auto_pad " + automatic);
  pad_same(automatic == "SAME_LOWER", input, window);
  return window;
}

Shape window_output(const OpSpec& spec, const Window& window, bool ceil_mode) {
  const Shape& input = spec.inputs[0];
  Shape output;
  for (size_t axis = 0; axis < window.axes; ++axis) {
    const int64_t size = input[axis + 1], stride = window.stride[axis];
    const int64_t room = size + window.pad_begin[axis] + window.pad_end[axis] - window.reach(axis);
    require_shape(room >= 0, spec.type + " of " + std::to_string(window.kernel[axis]) + " (" +
                                 std::to_string(window.reach(axis)) +
                                 " with dilation) is larger than its input " + shape_text(input) +
                                 " with pads");
    int64_t outputs = (ceil_mode ? room + stride - 1 : room) / stride + 1;
    // A window that would begin behind the input and its leading pad does not count (ONNX, as PyTorch).
    if (ceil_mode && (outputs - 1) * stride >= size + window.pad_begin[axis]) --outputs;
    output.push_back(outputs);
  }
  return output;
}

}  // namespace lepton::ops
