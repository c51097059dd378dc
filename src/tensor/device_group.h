// SPDX-License-Identifier: Apache-2.0
// DeviceGroup: the devices of a job's nodes, as far as they exchange arrays without a copy on the host:
// NCCL's communicator (kernels/nccl_group.cu), or MPI where it reaches device memory (comm/mpi_device_group).
// Every node calls the same functions in the same order. Arrays lie in device memory; node n has the elements
// [offsets[n], offsets[n + 1]) of them, nodes + 1 offsets: equal parts, but that the last ones may be short
// or empty; the memory has room for whole parts. Called by train/device_exchange.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/waiting.h"

namespace lepton {

class DeviceGroup {
 public:
  virtual ~DeviceGroup() = default;
  /// In place: afterwards a node's own part holds the total over nodes, modulo 2^64; what the others hold is
  /// undefined.
  virtual void reduce_scatter(int64_t* sums, std::span<const int64_t> offsets, const Poll& poll) = 0;
  /// In place: each node's part goes to all.
  virtual void all_gather(void* values, std::span<const int64_t> offsets, size_t element_bytes,
                          const Poll& poll) = 0;
  /// Until all that the queue holds is done, the group's work with it. Throws DeadlineError where another
  /// node is silent too long.
  virtual void finish(const Poll& poll) = 0;
};

}  // namespace lepton
