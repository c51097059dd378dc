// SPDX-License-Identifier: Apache-2.0
// Host allocation of Buffers. Called when a run is set up; never inside a step.
#include "tensor/buffer.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/error.h"

namespace lepton {

Buffer::Buffer(Device device, size_t bytes, const char* purpose) : bytes_(bytes), device_(device) {
  if (bytes == 0) return;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  data_ = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
  REQUIRE(data_ != nullptr, Exit::memory, purpose,
          "cannot allocate " + std::to_string(rounded >> 20) + " MiB of memory",
          "Use a smaller model, a smaller unit_size or fewer threads, or ask for more memory.");
  std::memset(data_, 0, rounded);
}

Buffer::~Buffer() {
  std::free(data_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      device_(other.device_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  return *this;
}

}  // namespace lepton
