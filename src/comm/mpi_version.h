// SPDX-License-Identifier: Apache-2.0
// The MPI library in use, for --version.
#pragma once

#include <string>

namespace lepton::comm {

/// **Local.** The library's own words, first line or first part: "Open MPI v4.1.4". Works without MPI_Init.
std::string mpi_version();

}  // namespace lepton::comm
