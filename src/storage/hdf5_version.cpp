// SPDX-License-Identifier: Apache-2.0
// Asks the library that is loaded, not the headers.
#include "storage/hdf5_version.h"

#include <hdf5.h>

namespace lepton::storage {

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) return "unknown";
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

}  // namespace lepton::storage
