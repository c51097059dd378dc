// SPDX-License-Identifier: Apache-2.0
// Sliding windows of Conv and the pools: ONNX attributes with their defaults, checked, and the output size.
// Declared in operators.h; called by conv and pool.
#include "ops/operators.h"

namespace lepton::ops {

Window parse_window(const OpSpec& spec, const std::vector<int64_t>& kernel) {
  const Attributes& a = spec.attributes;
  const std::string automatic = string_attribute(a, "auto_pad", "NOTSET");
  require_shape(automatic == "NOTSET" || automatic == "VALID",
                spec.type + " needs pads, auto_pad " + automatic + " must be resolved before");
  const auto size = ints_attribute(a, "kernel_shape", kernel);
  const auto stride = ints_attribute(a, "strides", {1, 1});
  const auto dilation = ints_attribute(a, "dilations", {1, 1});
  const auto pads = ints_attribute(a, "pads", {0, 0, 0, 0});
  require_shape(size.size() == 2 && stride.size() == 2 && dilation.size() == 2 && pads.size() == 4,
                spec.type + " needs kernel_shape, strides and dilations of 2 numbers and pads of 4");
  Window window{};
  for (size_t axis = 0; axis < 2; ++axis) {
    require_shape(size[axis] >= 1 && stride[axis] >= 1 && dilation[axis] >= 1,
                  spec.type + " needs kernel, strides and dilations of at least 1");
    require_shape(pads[axis] >= 0 && pads[axis + 2] >= 0, spec.type + " cannot have negative pads");
    window.kernel[axis] = size[axis];
    window.stride[axis] = stride[axis];
    window.dilation[axis] = dilation[axis];
    window.pad_begin[axis] = pads[axis];
    window.pad_end[axis] = pads[axis + 2];
  }
  return window;
}

std::array<int64_t, 2> window_output(const OpSpec& spec, const Window& window, bool ceil_mode) {
  const Shape& input = spec.inputs[0];
  std::array<int64_t, 2> output{};
  for (size_t axis = 0; axis < 2; ++axis) {
    const int64_t size = input[axis + 1], stride = window.stride[axis];
    const int64_t reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
    const int64_t room = size + window.pad_begin[axis] + window.pad_end[axis] - reach;
    require_shape(room >= 0, spec.type + " of " + std::to_string(window.kernel[0]) + " x " +
                                 std::to_string(window.kernel[1]) + " (" + std::to_string(reach) +
                                 " with dilation) is larger than its input " + shape_text(input) +
                                 " with pads");
    output[axis] = (ceil_mode ? room + stride - 1 : room) / stride + 1;
    // A window that would begin behind the input and its leading pad does not count (ONNX, as PyTorch).
    if (ceil_mode && (output[axis] - 1) * stride >= size + window.pad_begin[axis]) --output[axis];
  }
  return output;
}

}  // namespace lepton::ops
