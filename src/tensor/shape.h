// SPDX-License-Identifier: Apache-2.0
// Shape: the dimensions of an array, outermost first; Layout: how they lie in memory. In the graph a shape
// leaves out the batch dimension.
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

/// How the dimensions of a sample lie in memory: as written, or with the first one, channels, last: [C, H, W]
/// as H, W, C. Of one dimension both are the same, and called plain.
enum class Layout : uint8_t { plain, channels_last };

/// In which images, volumes and scores for their pixels come in and go out; vectors and sequences are plain.
inline Layout usual_layout(const Shape& shape) {
  return shape.size() >= 3 ? Layout::channels_last : Layout::plain;
}

/// "[3, 32, 32]"
inline std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace lepton
