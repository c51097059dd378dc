// SPDX-License-Identifier: Apache-2.0
// Folding of operators that move elements; see the header.
#include "onnx/fold_moves.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "onnx/fold.h"

namespace lepton::onnx::folding {

void refuse(const std::string& what) {
  fail(Exit::deck, "", what, "");
}
void require(bool condition, const char* what) {
  if (!condition) refuse(what);
}

const Constant& input(Inputs inputs, size_t i) {
  require(i < inputs.size() && inputs[i] != nullptr, "an input is missing");
  require(!inputs[i]->open, "it needs values that the file does not hold");
  return *inputs[i];
}

int64_t axis_of(int64_t axis, size_t rank) {
  const auto dimensions = static_cast<int64_t>(rank);
  require(axis >= -dimensions && axis < dimensions, "its axis is outside of the tensor");
  return axis < 0 ? axis + dimensions : axis;
}

Shape strides_of(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

void require_moderate(const Shape& shape) {
  for (const int64_t dimension : shape) require(dimension >= 0, "its result has a negative dimension");
  require(!model::too_large(shape) && element_count(shape) <= folded_most, "its result is too large");
}

Shape sizes_of(const Constant& counts, int64_t& batch_axis) {
  require(!counts.floating, "its sizes are no integers");
  Shape shape;
  for (const Count& count : counts.integers) {
    if (count.of_batch) {
      require(batch_axis < 0, "it has the batch size twice");
      batch_axis = std::ssize(shape);
    }
    shape.push_back(count.of_batch ? 1 : count.number);
  }
  return shape;
}

/// Of an element of the broadcast shape: which element of the tensor it is.
int64_t broadcast_source(const Constant& data, const Shape& index) {
  const Shape strides = strides_of(data.shape);
  const size_t behind = index.size() - data.shape.size();
  int64_t source = 0;
  for (size_t d = 0; d < data.shape.size(); ++d)
    if (data.shape[d] != 1) source += index[behind + d] * strides[d];
  return source;
}

Shape broadcast_shape(const Shape& a, const Shape& b) {
  Shape shape(std::max(a.size(), b.size()), 1);
  for (const Shape* one : {&a, &b})
    for (size_t d = 0; d < one->size(); ++d) {
      int64_t& size = shape[shape.size() - one->size() + d];
      require((*one)[d] == size || (*one)[d] == 1 || size == 1, "its inputs do not broadcast");
      if ((*one)[d] != 1) size = (*one)[d];
    }
  require_moderate(shape);
  return shape;
}

namespace {

using messages::AttributeProto;
using messages::NodeProto;

Constant with_shape(const Constant& data, Shape shape) {
  require_moderate(shape);
  require(element_count(shape) == data.elements(), "the shape does not fit the tensor");
  Constant result = data;
  result.shape = std::move(shape);
  result.batch_axis = -1;
  return result;
}

Constant fold_identity(const NodeProto&, Inputs inputs) {
  return input(inputs, 0);
}

Constant fold_transpose(const NodeProto& node, Inputs inputs) {
  const Constant& data = input(inputs, 0);
  const auto rank = data.shape.size();
  Shape perm(rank);
  std::iota(perm.rbegin(), perm.rend(), 0);
  if (const AttributeProto* given = find_attribute(node, "perm"))
    perm.assign(given->ints().begin(), given->ints().end());
  Shape sorted = perm, shape;
  std::sort(sorted.begin(), sorted.end());
  for (size_t d = 0; d < sorted.size(); ++d)
    require(sorted[d] == static_cast<int64_t>(d), "perm is no permutation");
  require(perm.size() == rank, "perm does not fit the tensor");
  const Shape strides = strides_of(data.shape);
  for (const int64_t axis : perm) shape.push_back(data.shape[static_cast<size_t>(axis)]);
  return moved(data, shape, [&](const Shape& index) {
    int64_t source = 0;
    for (size_t d = 0; d < rank; ++d) source += index[d] * strides[static_cast<size_t>(perm[d])];
    return source;
  });
}

Constant fold_reshape(const NodeProto& node, Inputs inputs) {
  const Constant& data = input(inputs, 0);
  Shape shape = input(inputs, 1).numbers();
  const bool zeros = node_int(node, "allowzero", 0) != 0;
  int64_t known = 1, open = -1;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0 && !zeros && d < data.shape.size()) shape[d] = data.shape[d];
    if (shape[d] == -1) {
      require(open < 0, "the shape has more than one -1");
      open = static_cast<int64_t>(d);
    } else {
      require(!__builtin_mul_overflow(known, shape[d], &known), "the shape does not fit the tensor");
    }
  }
  if (open >= 0) {
    require(known > 0 && data.elements() % known == 0, "the shape does not fit the tensor");
    shape[static_cast<size_t>(open)] = data.elements() / known;
  }
  return with_shape(data, shape);
}

Shape axes_of(const NodeProto& node, Inputs inputs) {
  if (inputs.size() > 1 && inputs[1] != nullptr) return input(inputs, 1).numbers();
  const AttributeProto* axes = find_attribute(node, "axes");
  return axes == nullptr ? Shape{} : Shape(axes->ints().begin(), axes->ints().end());
}

Constant fold_unsqueeze(const NodeProto& node, Inputs inputs) {
  const Constant& data = input(inputs, 0);
  Shape axes = axes_of(node, inputs);
  for (int64_t& axis : axes) axis = axis_of(axis, data.shape.size() + axes.size());
  std::sort(axes.begin(), axes.end());
  Shape shape = data.shape;
  for (const int64_t axis : axes) {
    require(axis <= std::ssize(shape), "its axes do not fit the tensor");
    shape.insert(shape.begin() + axis, 1);
  }
  return with_shape(data, shape);
}

Constant fold_squeeze(const NodeProto& node, Inputs inputs) {
  const Constant& data = input(inputs, 0);
  Shape axes = axes_of(node, inputs), shape;
  for (int64_t& axis : axes) axis = axis_of(axis, data.shape.size());
  for (size_t d = 0; d < data.shape.size(); ++d) {
    const bool named = std::find(axes.begin(), axes.end(), static_cast<int64_t>(d)) != axes.end();
    if (!(axes.empty() ? data.shape[d] == 1 : named)) shape.push_back(data.shape[d]);
  }
  return with_shape(data, shape);
}

Constant fold_gather(const NodeProto& node, Inputs inputs) {
  const Constant &data = input(inputs, 0), &indices = input(inputs, 1);
  const auto axis = static_cast<size_t>(axis_of(node_int(node, "axis", 0), data.shape.size()));
  Shape rows = indices.numbers();
  for (int64_t& row : rows) {
    if (row < 0) row += data.shape[axis];
    require(row >= 0 && row < data.shape[axis], "an index is outside of the tensor");
  }
  Shape shape(data.shape.begin(), data.shape.begin() + static_cast<int64_t>(axis));
  shape.insert(shape.end(), indices.shape.begin(), indices.shape.end());
  shape.insert(shape.end(), data.shape.begin() + static_cast<int64_t>(axis) + 1, data.shape.end());
  const Shape strides = strides_of(data.shape), inner = strides_of(indices.shape);
  const size_t span = indices.shape.size();
  return moved(data, shape, [&](const Shape& index) {
    int64_t source = 0, row = 0;
    for (size_t d = 0; d < axis; ++d) source += index[d] * strides[d];
    for (size_t d = 0; d < span; ++d) row += index[axis + d] * inner[d];
    source += rows[static_cast<size_t>(row)] * strides[axis];
    for (size_t d = axis + span; d < index.size(); ++d) source += index[d] * strides[d - span + 1];
    return source;
  });
}

Constant fold_concat(const NodeProto& node, Inputs inputs) {
  const Constant& first = input(inputs, 0);
  const auto axis = static_cast<size_t>(axis_of(node_int(node, "axis", 0), first.shape.size()));
  Shape shape = first.shape;
  for (size_t i = 1; i < inputs.size(); ++i) {
    const Constant& other = input(inputs, i);
    require(other.shape.size() == shape.size() && other.floating == first.floating,
            "its inputs do not fit each other");
    for (size_t d = 0; d < shape.size(); ++d)
      require(d == axis || other.shape[d] == first.shape[d], "its inputs do not fit each other");
    shape[axis] += other.shape[axis];
  }
  require_moderate(shape);
  Constant result;
  result.floating = first.floating;
  for_indices(shape, [&](const Shape& index) {
    size_t i = 0;
    Shape own = index;
    while (own[axis] >= inputs[i]->shape[axis]) own[axis] -= inputs[i++]->shape[axis];
    const Shape strides = strides_of(inputs[i]->shape);
    const auto source = static_cast<size_t>(std::inner_product(own.begin(), own.end(), strides.begin(), 0L));
    if (result.floating)
      result.floats.push_back(inputs[i]->floats[source]);
    else
      result.integers.push_back(inputs[i]->integers[source]);
  });
  result.shape = shape;
  for (const Constant* one : inputs) {
    result.joined.insert(result.joined.end(), one->joined.begin(), one->joined.end());
    if (!one->origin.empty()) result.joined.push_back(one->origin);
  }
  return result;
}

Constant fold_slice(const NodeProto&, Inputs inputs) {
  const Constant& data = input(inputs, 0);
  const Shape starts = input(inputs, 1).numbers(), ends = input(inputs, 2).numbers();
  Shape axes(starts.size()), steps(starts.size(), 1);
  std::iota(axes.begin(), axes.end(), 0);
  if (inputs.size() > 3 && inputs[3] != nullptr) axes = input(inputs, 3).numbers();
  if (inputs.size() > 4 && inputs[4] != nullptr) steps = input(inputs, 4).numbers();
  require(ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(),
          "starts, ends, axes and steps differ in length");
  Shape shape = data.shape, begin(shape.size(), 0), step(shape.size(), 1);
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto d = static_cast<size_t>(axis_of(axes[i], shape.size()));
    const int64_t size = data.shape[d];
    require(steps[i] != 0, "a step is 0");
    const int64_t least = steps[i] > 0 ? 0 : -1, most = steps[i] > 0 ? size : size - 1;
    const auto cut = [&](int64_t at) { return std::clamp(at < 0 ? at + size : at, least, most); };
    begin[d] = cut(starts[i]);
    step[d] = std::clamp(steps[i], -size, size);  // so that no product overflows
    if (size > 0)
      shape[d] = std::max<int64_t>(0, (cut(ends[i]) - begin[d] + step[d] - (step[d] > 0 ? 1 : -1)) / step[d]);
  }
  const Shape strides = strides_of(data.shape);
  return moved(data, shape, [&](const Shape& index) {
    int64_t source = 0;
    for (size_t d = 0; d < index.size(); ++d) source += (begin[d] + index[d] * step[d]) * strides[d];
    return source;
  });
}

/// Repeated for the samples it stays as it is, and knows that.
Constant fold_expand(const NodeProto&, Inputs inputs) {
  const Constant& data = input(inputs, 0);
  int64_t batch_axis = -1;
  const Shape wanted = sizes_of(input(inputs, 1), batch_axis);
  const Shape shape = broadcast_shape(data.shape, wanted);
  Constant result = shape == data.shape ? data : moved(data, shape, [&](const Shape& index) {
    return broadcast_source(data, index);
  });
  if (batch_axis < 0) return result;
  result.batch_axis = batch_axis + std::ssize(shape) - std::ssize(wanted);
  require(shape[static_cast<size_t>(result.batch_axis)] == 1, "it repeats for the samples what is not 1");
  return result;
}

}  // namespace

Fold find_move(const std::string& type) {
  static const std::map<std::string, Fold> table = {
      {"Concat", fold_concat},     {"Expand", fold_expand},       {"Gather", fold_gather},
      {"Identity", fold_identity}, {"Reshape", fold_reshape},     {"Slice", fold_slice},
      {"Squeeze", fold_squeeze},   {"Transpose", fold_transpose}, {"Unsqueeze", fold_unsqueeze},
  };
  const auto found = table.find(type);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace lepton::onnx::folding
