// SPDX-License-Identifier: Apache-2.0
// Buffer: memory on a Device, or pinned host memory for its copies; aligned to 64 bytes, move-only. The
// host's is zeroed, a device's is as it comes. Allocation failure is Error(memory) with needed bytes. Every
// large allocation of the program goes through here or through comm's shared memory.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/backend.h"
#include "tensor/device.h"

namespace lepton {

class Buffer {
 public:
  static constexpr size_t alignment = 64;

  Buffer() = default;
  /// `purpose` names the memory in the error that a failed allocation throws. `kind` is of interest where the
  /// device has a backend, which must outlive the buffer.
  Buffer(Device device, size_t bytes, const char* purpose, MemoryKind kind = MemoryKind::device);
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
  MemoryKind kind_ = MemoryKind::device;
};

}  // namespace lepton
