// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/output_file.h"

#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "checkpoint/manifest.h"
#include "storage/file.h"
#include "storage/hdf5.h"

namespace lepton::train {

std::string unfinished_name(const std::string& output) {
  return output + ".tmp";
}

void require_new_output(const std::string& output) {
  storage::require_replaceable(output);
  std::error_code missing;
  const auto bytes = std::filesystem::file_size(output, missing);
  if (missing) return;
  REQUIRE(bytes == 0 || storage::is_hdf5(output), Exit::usage, output,
          "this file exists and is not HDF5, so it is no earlier output", "Remove it, or name another file.");
  const auto manifest = std::filesystem::path(output).parent_path() / checkpoint::manifest_name;
  REQUIRE(!std::filesystem::exists(manifest, missing), Exit::usage, output,
          "this file belongs to a checkpoint", "Name another file.");
}

Unfinished::~Unfinished() {
  if (!path.empty()) unlink(path.c_str());
}

}  // namespace lepton::train
