// SPDX-License-Identifier: Apache-2.0
// Allocation of Buffers. Called when a run is set up; never inside a step.
#include "tensor/buffer.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/error.h"

namespace lepton {

static std::byte* allocate_on_host(size_t bytes) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(Buffer::alignment, bytes));
  if (memory) std::memset(memory, 0, bytes);
  return memory;
}

Buffer::Buffer(Device device, size_t bytes, const char* purpose, MemoryKind kind)
    : bytes_(bytes), device_(device), kind_(kind) {
  if (bytes == 0) return;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  data_ = device.backend ? device.backend->allocate(rounded, kind) : allocate_on_host(rounded);
  const bool on_device = device.backend && kind == MemoryKind::device;
  REQUIRE(data_ != nullptr, Exit::memory, purpose,
          "cannot allocate " + std::to_string(rounded >> 20) + " MiB of " +
              (on_device ? "device memory" : "memory"),
          "Use a smaller model, a smaller unit_size or fewer threads, or ask for more memory.");
}

Buffer::~Buffer() {
  if (device_.backend && data_)
    device_.backend->release(data_, kind_);
  else
    std::free(data_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      device_(other.device_),
      kind_(other.kind_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  std::swap(kind_, other.kind_);
  return *this;
}

}  // namespace lepton
