// SPDX-License-Identifier: Apache-2.0
// NCCL between the devices of a job's nodes (tensor/device_group.h). It stands here and not in comm because
// only this module links CUDA, and the program must run without. The library is looked for when a job wants
// it: without it the module serves all the same, and sums go by MPI.
#pragma once

#include <memory>
#include <string>

#include "tensor/backend.h"
#include "tensor/device_group.h"

namespace lepton::cuda {

/// "NCCL 2.28.3", or "" and why not.
std::string nccl_version(std::string& absence);
/// What the members of a new group must all be given: made by one of them, plain bytes.
std::string nccl_group_id();
/// **Collective over the members.** `queue` is of the device that is current. Throws DeadlineError where
/// others do not come.
std::unique_ptr<DeviceGroup> join_nccl_group(Backend& backend, Queue& queue, const std::string& id, int rank,
                                             int size, double deadline_s);

}  // namespace lepton::cuda
