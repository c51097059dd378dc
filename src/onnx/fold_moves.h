// SPDX-License-Identifier: Apache-2.0
// What folding is made of (fold.h), and the operators among it that move elements: they say where each
// element of the result comes from. Inside of module onnx, called by fold.
#pragma once

#include <span>
#include <string>

#include "model/graph_builder.h"
#include "onnx/constant.h"

namespace lepton::onnx::folding {

using Inputs = std::span<const Constant* const>;

constexpr int64_t folded_most = int64_t{1} << 28;  ///< elements: what is folded is a shape or a weight

/// Throw Error(deck) with an empty `where`.
[[noreturn]] void refuse(const std::string& what);
void require(bool condition, const char* what);
void require_moderate(const Shape& shape);

const Constant& input(Inputs inputs, size_t i);
int64_t axis_of(int64_t axis, size_t rank);
Shape strides_of(const Shape& shape);
/// By ONNX's rules, and of an element of it which element of the tensor it is.
Shape broadcast_shape(const Shape& a, const Shape& b);
int64_t broadcast_source(const Constant& data, const Shape& index);

/// Calls visit(index) for all indices of a shape in order.
template <class Visit>
void for_indices(const Shape& shape, const Visit& visit) {
  Shape index(shape.size(), 0);
  for (int64_t left = element_count(shape); left > 0; --left) {
    visit(index);
    for (size_t d = shape.size(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
}

/// Sizes that a node takes as an input. The one of the batch, if there is one, is 1, and `batch_axis` its
/// place.
Shape sizes_of(const Constant& counts, int64_t& batch_axis);

/// The tensor of `shape` whose element at an index is data's element number from(index).
template <class From>
Constant moved(const Constant& data, Shape shape, const From& from) {
  require_moderate(shape);
  Constant result;
  result.floating = data.floating;
  result.origin = data.floating ? data.origin : "";
  result.joined = data.joined;
  for_indices(shape, [&](const Shape& index) {
    const auto source = static_cast<size_t>(from(index));
    if (data.floating)
      result.floats.push_back(data.floats[source]);
    else
      result.integers.push_back(data.integers[source]);
    if (!result.origin.empty())
      result.sources.push_back(data.sources.empty() ? static_cast<int32_t>(source) : data.sources[source]);
  });
  result.shape = std::move(shape);
  return result;
}

using Fold = Constant (*)(const messages::NodeProto&, Inputs);
/// Null: the operator moves nothing.
Fold find_move(const std::string& type);

}  // namespace lepton::onnx::folding
