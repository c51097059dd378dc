// SPDX-License-Identifier: Apache-2.0
// Sizes and pads of transposed convolutions; see the header.
#include "ops/transposed_window.h"

#include <algorithm>

namespace lepton::ops {

TransposedWindow::TransposedWindow(const OpSpec& spec) {
  OpSpec given = spec;
  given.attributes.erase("auto_pad");
  const Shape &x = spec.inputs[0], &w = spec.parameters[0];
  window = parse_window(given, kernel_of(w));
  group = int_attribute(spec.attributes, "group", 1);
  const size_t axes = window.axes;
  const auto more = ints_attribute(spec.attributes, "output_padding", std::vector<int64_t>(axes, 0));
  const auto wanted = ints_attribute(spec.attributes, "output_shape", {});
  const std::string automatic = string_attribute(spec.attributes, "auto_pad", "NOTSET");
  const bool same = automatic == "SAME_UPPER" || automatic == "SAME_LOWER";
  require_shape(same || automatic == "NOTSET" || automatic == "VALID",
                "ConvTranspose has no auto_pad " + automatic);
  require_shape(more.size() == axes && (wanted.empty() || wanted.size() == axes),
                "ConvTranspose of " + shape_text(x) + " needs output_padding and output_shape of " +
                    std::to_string(axes) + " numbers");
  for (size_t axis = 0; axis < axes; ++axis) {
    require_shape(more[axis] >= 0 && more[axis] < std::max(window.stride[axis], window.dilation[axis]),
                  "ConvTranspose output_padding must be less than the stride or the dilation");
    const int64_t whole = window.stride[axis] * (x[axis + 1] - 1) + more[axis] + window.reach(axis);
    if (same || !wanted.empty()) {
      const int64_t size = wanted.empty() ? x[axis + 1] * window.stride[axis] : wanted[axis];
      const int64_t total = std::max<int64_t>(whole - size, 0);
      window.pad_begin[axis] = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
      window.pad_end[axis] = total - window.pad_begin[axis];
      require_shape(whole - total == size, "ConvTranspose of " + shape_text(x) + " cannot give " +
                                               std::to_string(size) + " along one axis");
    }
    output.push_back(whole - window.pad_begin[axis] - window.pad_end[axis]);
    require_shape(output.back() >= 1, "ConvTranspose of " + shape_text(x) + " pads away its whole output");
  }
}

}  // namespace lepton::ops
