// SPDX-License-Identifier: Apache-2.0
// MPI_Get_library_version is one of the calls that MPI allows before MPI_Init.
#include "comm/mpi_version.h"

#include <mpi.h>

namespace lepton::comm {

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

}  // namespace lepton::comm
