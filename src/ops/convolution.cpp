// SPDX-License-Identifier: Apache-2.0
// Dimensions of convolutions for oneDNN; see the header.
#include "ops/convolution.h"

#include <algorithm>

namespace lepton::ops {

namespace {

using onednn::Dims;

/// {first, C, ...}; one dimension behind the channels becomes a height of 1 and a width.
Dims dims_of(std::initializer_list<int64_t> first, const Shape& shape, size_t from) {
  Dims dims(first);
  if (shape.size() == from + 1) dims.push_back(1);
  dims.insert(dims.end(), shape.begin() + static_cast<int64_t>(from), shape.end());
  return dims;
}

}  // namespace

void check_kernel(const OpSpec& spec, const Window& window, const char* weights) {
  const Shape& x = spec.inputs[0];
  require_shape(!spec.parameters.empty() && spec.parameters[0].size() == x.size() + 1,
                spec.type + " of " + shape_text(x) + " needs weights " + weights);
  const auto kernel = kernel_of(spec.parameters[0]);
  require_shape(std::equal(kernel.begin(), kernel.end(), window.kernel),
                spec.type + " kernel_shape does not fit the weights " + shape_text(spec.parameters[0]));
}

onednn::Convolution convolution_of(const ConvolutionShapes& shapes, const Window& window,
                                   Precision precision) {
  onednn::Convolution c;
  const Shape &images = shapes.images, &filtered = shapes.filtered, &weights = shapes.weights;
  c.source = dims_of({shapes.samples, images[0]}, images, 1);
  c.destination = dims_of({shapes.samples, filtered[0]}, filtered, 1);
  const int64_t group = shapes.group;
  c.weights = group == 1 ? dims_of({weights[0], weights[1]}, weights, 2)
                         : dims_of({group, weights[0] / group, weights[1]}, weights, 2);
  c.operands = operand_type(precision);
  if (window.axes == 1) {
    c.strides = {1};
    c.dilations = c.pads_begin = c.pads_end = {0};
  }
  for (size_t axis = 0; axis < window.axes; ++axis) {
    c.strides.push_back(window.stride[axis]);
    c.dilations.push_back(window.dilation[axis] - 1);  // oneDNN counts the gaps
    c.pads_begin.push_back(window.pad_begin[axis]);
    // The primitive wants pads that match exactly; rows that no window reaches are pads it must not have.
    const int64_t reach = (filtered[axis + 1] - 1) * window.stride[axis] + window.reach(axis);
    c.pads_end.push_back(reach - window.pad_begin[axis] - images[axis + 1]);
  }
  return c;
}

onednn::Desc plain_weights(const onednn::Convolution& c) {
  using onednn::Tag;
  const bool volumes = c.source.size() == 5, grouped = c.weights.size() > c.source.size();
  const Tag tag = volumes ? grouped ? Tag::goidhw : Tag::oidhw : grouped ? Tag::goihw : Tag::oihw;
  return onednn::desc(c.weights, tag);
}

Packed image_operand(const onednn::Convolution& convolution, const Dims& dims) {
  return Packed::operand(onednn::desc(dims, onednn::channels_last(dims)),
                         onednn::desc(dims, onednn::channels_last(dims), convolution.operands));
}

}  // namespace lepton::ops
