// SPDX-License-Identifier: Apache-2.0
// Elements by their indices: where they lie in a unit's memory, in both layouts. For references in tests of
// operators that know nothing of how those walk.
#pragma once

#include <functional>

#include "ops/harness.h"

namespace lepton::ops::testing {

/// In ONNX order; `at` counts without the batch dimension.
inline void for_each_index(const Shape& shape, const std::function<void(const Shape& at)>& use) {
  Shape at(shape.size(), 0);
  for (int64_t i = 0; i < element_count(shape); ++i) {
    use(at);
    for (size_t d = shape.size(); d-- > 0;) {
      if (++at[d] < shape[d]) break;
      at[d] = 0;
    }
  }
}

inline size_t place(const Shape& shape, Layout layout, int64_t sample, const Shape& at) {
  const Shape dimensions = in_memory(shape, layout), indices = in_memory(at, layout);
  int64_t index = sample;
  for (size_t d = 0; d < shape.size(); ++d) index = index * dimensions[d] + indices[d];
  return static_cast<size_t>(index);
}

/// The index of what is broadcast: the last dimensions of `at`, 0 where `shape` has 1.
inline Shape broadcast_index(const Shape& shape, const Shape& at) {
  Shape index(shape.size(), 0);
  for (size_t d = 0; d < shape.size(); ++d) {
    const int64_t from = std::ssize(at) - std::ssize(shape) + static_cast<int64_t>(d);
    if (from >= 0 && shape[d] > 1) index[d] = at[static_cast<size_t>(from)];
  }
  return index;
}

}  // namespace lepton::ops::testing
