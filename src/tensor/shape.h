// SPDX-License-Identifier: Apache-2.0
// Shape: the dimensions of an array, outermost first. In the graph a shape leaves out the batch dimension.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lepton {

using Shape = std::vector<int64_t>;

inline int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t dimension : shape) count *= dimension;
  return count;
}

/// "[3, 32, 32]"
inline std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace lepton
