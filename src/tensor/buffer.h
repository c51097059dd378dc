// SPDX-License-Identifier: Apache-2.0
// Buffer: memory on a Device, aligned to 64 bytes, zeroed, move-only. Allocation failure is Error(memory)
// with needed bytes. Every large allocation of the program goes through here or through comm's shared memory.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/device.h"

namespace lepton {

class Buffer {
 public:
  static constexpr size_t alignment = 64;

  Buffer() = default;
  /// `purpose` names the memory in the error that a failed allocation throws.
  Buffer(Device device, size_t bytes, const char* purpose);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  template <class T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(data_), bytes_ / sizeof(T)};
  }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  Device device_;
};

}  // namespace lepton
