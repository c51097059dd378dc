// SPDX-License-Identifier: Apache-2.0
// The HDF5 library in use, for --version and for what must be byte-identical per version (DESIGN section 6).
#pragma once

#include <string>

namespace lepton::storage {

/// "1.10.8"
std::string hdf5_version();

}  // namespace lepton::storage
