// SPDX-License-Identifier: Apache-2.0
// F_OFD_GETLK tells of a lock that would be in the way, and takes none. See the header.
#include "storage/lock_state.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/file.h"

namespace lepton::storage {

std::optional<std::string> directory_lock_owner(const std::string& directory) {
  const std::string path = directory + "/.lock";
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return std::nullopt;
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  const bool known = fcntl(descriptor, F_OFD_GETLK, &range) == 0;
  close(descriptor);
  if (!known || range.l_type == F_UNLCK) return std::nullopt;
  return read_file_if_exists(path).value_or("");
}

}  // namespace lepton::storage
