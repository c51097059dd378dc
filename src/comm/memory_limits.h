// SPDX-License-Identifier: Apache-2.0
// What memory this process can still have: the free RAM of the machine, what control groups (v1 and v2, with
// all parents) leave, and the space of a shared-memory file system. Used by SharedMemory before it reserves
// anything, because reserving too much ends in the kernel's OOM killer, and by `lepton check`.
#pragma once

#include <cstddef>
#include <string>

namespace lepton::comm {

struct MemoryLimits {
  size_t ram_bytes = 0;        ///< MemAvailable
  size_t cgroup_bytes = 0;     ///< SIZE_MAX where there is no limit
  size_t shared_fs_bytes = 0;  ///< free space of the file system of the directory; 0 where there is none
  /// RAM and cgroup: what can be had at all. The file system does not bound it, memfd_create needs none.
  size_t available_bytes() const { return ram_bytes < cgroup_bytes ? ram_bytes : cgroup_bytes; }
  std::string text() const;  ///< one line for people
};

/// **Local.** `root` is put before /proc and /sys, for tests.
MemoryLimits memory_limits(const std::string& shm_directory, const std::string& root = "");

/// "12.3 GiB (13207024435 bytes)".
std::string bytes_text(size_t bytes);

}  // namespace lepton::comm
