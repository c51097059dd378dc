// SPDX-License-Identifier: Apache-2.0
// The lock of a run directory: an OFD lock (Linux) on its file .lock, which holds the owner's words. Such
// locks belong to the open file, not to the process, and vanish with their holder however it dies. Taken by
// ownership.h, which adds what holds where locks do not reach; asked for by the command `status`.
#pragma once

#include <optional>
#include <string>

namespace lepton::storage {

class DirectoryLock {
 public:
  /// Takes the lock; nothing where the file system has no locks. Throws Error(run_directory) naming the owner
  /// that holds it in the words which that one gave, or when the directory cannot be written.
  static std::optional<DirectoryLock> try_take(const std::string& directory, const std::string& owner);
  ~DirectoryLock();
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;

 private:
  explicit DirectoryLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

/// An owner's words into an open file of the directory. Throws Error(run_directory).
void write_owner(int descriptor, const std::string& text, const std::string& directory);

/// The owner's words when somebody holds the lock of `directory`; nothing when it is free. Takes no lock.
std::optional<std::string> directory_lock_owner(const std::string& directory);

}  // namespace lepton::storage
