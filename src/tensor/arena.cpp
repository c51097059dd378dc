// SPDX-License-Identifier: Apache-2.0
// The arena's layout: offsets and the block-tensor segments. Built once per run by model.
#include "tensor/arena.h"

#include <algorithm>

#include "base/error.h"

namespace lepton {

int ArenaLayout::add(std::string name, Shape shape, TensorRole role, bool decays, double l2, bool frozen) {
  CHECK(segment_begin_.empty(), "layout is finished");
  CHECK(role == TensorRole::statistic || tensors_.empty() || tensors_.back().role == TensorRole::parameter,
        "statistics stand behind the parameters: " + name);
  constexpr int64_t alignment_elements = 16;
  const int64_t count = element_count(shape);
  tensors_.push_back({std::move(name), std::move(shape), role, decays, l2, frozen, elements_, count});
  elements_ += (count + alignment_elements - 1) / alignment_elements * alignment_elements;
  return static_cast<int>(tensors_.size()) - 1;
}

void ArenaLayout::finish() {
  segments_.clear();
  segment_begin_.assign(blocks() + 1, 0);
  for (int tensor = 0; tensor < static_cast<int>(tensors_.size()); ++tensor) {
    const ArenaTensor& t = tensors_[tensor];
    for (int64_t begin = t.offset; begin < t.offset + t.count;) {
      const int64_t block_end = (begin / block_elements + 1) * block_elements;
      const int64_t end = std::min(block_end, t.offset + t.count);
      segments_.push_back({tensor, begin, end});
      ++segment_begin_[begin / block_elements + 1];
      begin = end;
    }
  }
  for (size_t b = 1; b < segment_begin_.size(); ++b) segment_begin_[b] += segment_begin_[b - 1];
}

int64_t ArenaLayout::parameter_count() const {
  int64_t count = 0;
  for (const ArenaTensor& t : tensors_)
    if (t.role == TensorRole::parameter) count += t.count;
  return count;
}

}  // namespace lepton
