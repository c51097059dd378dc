// SPDX-License-Identifier: Apache-2.0
// MpiDeviceGroup: the pairwise exchange of reduction.h on device memory, for MPI that reaches it (CUDA-aware,
// or the debug device's). To the other nodes it is the same exchange: theirs may lie on the host.
// **Collective over leaders**, main thread only. Made by train/devices.
#pragma once

#include <functional>

#include "comm/exchange_memory.h"
#include "comm/reduction.h"
#include "tensor/backend.h"
#include "tensor/buffer.h"
#include "tensor/device_group.h"

namespace lepton::comm {

/// Whether this MPI can send from and receive into memory of such devices. **Local.**
bool mpi_reaches(DeviceKind kind);

class MpiDeviceGroup : public DeviceGroup {
 public:
  /// Enqueues sums[i] += more[i], modulo 2^64, into the queue.
  using Adder = std::function<void(int64_t* sums, const int64_t* more, int64_t count)>;

  MpiDeviceGroup(const World& world, const Device& device, Queue& queue, Adder add,
                 size_t piece_bytes = size_t{512} << 10);

  void reduce_scatter(int64_t* sums, std::span<const int64_t> offsets, const Poll& poll) override;
  void all_gather(void* values, std::span<const int64_t> offsets, size_t element_bytes,
                  const Poll& poll) override;
  void finish(const Poll& poll) override;

 private:
  /// Scratch and additions of the exchange.
  class DeviceMemory : public ExchangeMemory {
   public:
    DeviceMemory(const Device& device, Queue& queue, Adder add);
    std::byte* scratch(size_t bytes) override;
    void add(int64_t* sums, const int64_t* more, size_t count) override;

   private:
    Device device_;
    Queue& queue_;
    Adder add_;
    Buffer scratch_;
  };

  Backend& backend_;
  Queue& queue_;
  DeviceMemory memory_;
  LeaderReduction reduction_;
};

}  // namespace lepton::comm
