// SPDX-License-Identifier: Apache-2.0
// StoredType and HDF5's number types, both ways. float16 is no predefined HDF5 type: it is an IEEE float of 2
// bytes, recognised by its bit fields. Booleans, an enumeration of one byte, are uint8. Everything else
// (strings, compounds, bfloat16, odd precisions) is refused by name.
#pragma once

#include "storage/hdf5.h"
#include "storage/hdf5_handle.h"

namespace lepton::storage {

/// Under Hdf5Lock. Throws Error(data) at `where` for a type that Lepton does not read.
StoredType stored_type(hid_t type, const std::string& where);
/// Under Hdf5Lock. A new HDF5 type equal to `type`.
Handle hdf5_type(const StoredType& type);

}  // namespace lepton::storage
