// SPDX-License-Identifier: Apache-2.0
// Memory that the ranks of a node share, or those of a machine: our own files under /dev/shm (or [run]
// shm_dir), reserved with posix_fallocate, mapped by all, unlinked once all have attached; memfd_create
// opened through /proc where the file system is too small. (MPI windows cannot be attached again after a
// death, and leak: see DESIGN section 3.) Invariant: zeroed; the same bytes on every rank that shares it, at
// addresses that may differ.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "comm/memory_limits.h"
#include "comm/world.h"

namespace lepton::comm {

struct Group;

class SharedMemory {
 public:
  SharedMemory() = default;
  /// **Collective over the node.** `bytes` is the same on all its ranks. `purpose` (letters, digits, -) goes
  /// into names and errors. Throws Error(memory) with needed and available bytes, the same one on all ranks
  /// of the node; train agrees on it over the nodes. `domain`: the NUMA domain in whose memory it is wanted
  /// (the kernel's number), -1: wherever the leader runs; a wish, not an error where the kernel does not
  /// grant it.
  SharedMemory(const World& world, const std::string& directory, const std::string& purpose, size_t bytes,
               int domain = -1);
  /// **Collective over the machine.** The same for all its ranks, whatever nodes they form.
  static SharedMemory of_machine(const World& world, const std::string& directory, const std::string& purpose,
                                 size_t bytes);
  /// **Collective over the node.** The same, as <directory>/<name>, which stays when all processes die; where
  /// the file system is too small it is as the others, and kept_path() is "".
  static SharedMemory kept(const World& world, const std::string& directory, const std::string& name,
                           size_t bytes);
  /// On the node's first rank.
  const std::string& kept_path() const { return kept_path_; }
  ~SharedMemory();
  SharedMemory(SharedMemory&&) noexcept;
  SharedMemory& operator=(SharedMemory&&) noexcept;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  template <class T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(data_), bytes_ / sizeof(T)};
  }

 private:
  void share(Group& group, const std::string& directory, const std::string& purpose, size_t bytes, int domain,
             bool keep = false);

  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  std::string kept_path_;
};

/// Bytes that this host can still share: the smaller of free RAM and what control groups leave
/// (memory_limits.h has the parts; the file system does not bound it, because memfd_create stands in).
size_t available_memory_bytes(const std::string& shm_directory);

}  // namespace lepton::comm
