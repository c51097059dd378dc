// SPDX-License-Identifier: Apache-2.0
// How one block of shared memory is divided: the same pieces wherever the same are asked for in the same
// order.
#pragma once

#include <cstddef>
#include <span>

namespace lepton::train {

/// Cuts consecutive 64-byte aligned pieces off a block of memory; with null memory it only counts.
class Cutter {
 public:
  explicit Cutter(std::byte* memory) : memory_(memory) {}
  template <class T>
  std::span<T> take(size_t count) {
    T* begin = memory_ ? reinterpret_cast<T*>(memory_ + used_) : nullptr;
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    return {begin, memory_ ? count : 0};
  }
  size_t used() const { return used_; }

 private:
  std::byte* memory_;
  size_t used_ = 0;
};

}  // namespace lepton::train
