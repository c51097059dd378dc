// SPDX-License-Identifier: Apache-2.0
// F_OFD_SETLK takes the lock, F_OFD_GETLK tells of one that would be in the way. See the header.
#include "storage/directory_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "storage/file.h"

namespace lepton::storage {

namespace {

struct flock whole_file() {
  struct flock range {};  // from 0 to the end, whatever it is
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  return range;
}

std::string lock_path(const std::string& directory) {
  return directory + "/.lock";
}

}  // namespace

void write_owner(int descriptor, const std::string& text, const std::string& directory) {
  try {
    write_at(descriptor, std::as_bytes(std::span(text)), 0, directory);
  } catch (const Error& error) {
    fail(Exit::run_directory, directory, "the run directory cannot be written: " + error.problem(),
         "Make room, or choose another run.dir.");
  }
}

std::optional<DirectoryLock> DirectoryLock::try_take(const std::string& directory, const std::string& owner) {
  const std::string path = lock_path(directory);
  DirectoryLock lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  REQUIRE(lock.descriptor_ >= 0, Exit::run_directory, directory,
          std::string("the run directory cannot be written: ") + std::strerror(errno),
          "Choose a run.dir that you may write to.");
  struct flock range = whole_file();
  if (fcntl(lock.descriptor_, F_OFD_SETLK, &range) != 0) {
    if (errno != EAGAIN && errno != EACCES) return std::nullopt;
    const std::string held_by = read_file_if_exists(path).value_or("");
    fail(Exit::run_directory, directory,
         "the run directory is in use by " + (held_by.empty() ? "another job" : held_by),
         "Wait for that job or stop it, or choose another run.dir.");
  }
  REQUIRE(ftruncate(lock.descriptor_, 0) == 0, Exit::run_directory, directory,
          std::string("the run directory cannot be written: ") + std::strerror(errno),
          "Choose a run.dir that you may write to.");
  write_owner(lock.descriptor_, owner, directory);
  return lock;
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

DirectoryLock::~DirectoryLock() {
  if (descriptor_ >= 0) close(descriptor_);  // frees the lock; the file stays, for whoever waits on it
}

std::optional<std::string> directory_lock_owner(const std::string& directory) {
  const std::string path = lock_path(directory);
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return std::nullopt;
  struct flock range = whole_file();
  const bool known = fcntl(descriptor, F_OFD_GETLK, &range) == 0;
  close(descriptor);
  if (!known || range.l_type == F_UNLCK) return std::nullopt;
  return read_file_if_exists(path).value_or("");
}

}  // namespace lepton::storage
