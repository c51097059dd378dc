// SPDX-License-Identifier: Apache-2.0
// See the header. Open MPI says by an extension whether it was built for CUDA and found it; other libraries
// are not believed to be, unless they have the same extension.
#include "comm/mpi_device_group.h"

#include <mpi.h>
#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

#include <functional>
#include <utility>

namespace lepton::comm {

bool mpi_reaches(DeviceKind kind) {
#ifdef MPIX_CUDA_AWARE_SUPPORT
  if (kind == DeviceKind::cuda) return MPIX_Query_cuda_support() == 1;
#endif
  return kind != DeviceKind::cuda;
}

MpiDeviceGroup::DeviceMemory::DeviceMemory(const Device& device, Queue& queue, Adder add)
    : device_(device), queue_(queue), add_(std::move(add)) {}

std::byte* MpiDeviceGroup::DeviceMemory::scratch(size_t bytes) {
  if (scratch_.bytes() < bytes) scratch_ = Buffer(device_, bytes, "pieces from other nodes");
  return scratch_.data();
}

/// Done when it returns: the next piece goes to the same place.
void MpiDeviceGroup::DeviceMemory::add(int64_t* sums, const int64_t* more, size_t count) {
  add_(sums, more, static_cast<int64_t>(count));
  queue_.synchronize();
}

MpiDeviceGroup::MpiDeviceGroup(const World& world, const Device& device, Queue& queue, Adder add,
                               size_t piece_bytes)
    : backend_(*device.backend),
      queue_(queue),
      memory_(device, queue, std::move(add)),
      reduction_(world, piece_bytes, &memory_) {}

void MpiDeviceGroup::reduce_scatter(int64_t* sums, std::span<const int64_t> offsets, const Poll& poll) {
  const auto work = [&] {
    reduction_.reduce_scatter({sums, static_cast<size_t>(offsets.back())}, offsets, poll);
  };
  backend_.with_memory(queue_, std::cref(work));  // which std::function holds without memory
}

void MpiDeviceGroup::all_gather(void* values, std::span<const int64_t> offsets, size_t element_bytes,
                                const Poll& poll) {
  const size_t bytes = static_cast<size_t>(offsets.back()) * element_bytes;
  const auto work = [&] {
    reduction_.all_gather({static_cast<std::byte*>(values), bytes}, offsets, element_bytes, poll);
  };
  backend_.with_memory(queue_, std::cref(work));
}

void MpiDeviceGroup::finish(const Poll&) {
  queue_.synchronize();
}

}  // namespace lepton::comm
