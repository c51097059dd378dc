// SPDX-License-Identifier: Apache-2.0
// One walk over the directory, which never descends by a link. Another job may own it and work in it: what is
// gone by the time it is looked at is nobody's business.
#include "storage/trust.h"

#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "storage/file.h"

namespace lepton::storage {

namespace {

namespace fs = std::filesystem;

void require_closed(const std::string& directory, const fs::file_status& status) {
  const bool open = (status.permissions() & fs::perms::others_write) != fs::perms::none;
  REQUIRE(!open, Exit::run_directory, directory, "everybody can write into this directory of the run",
          "chmod -R o-w on it, choose another run.dir, or allow it: run.others_may_write = true.");
}

void look_below(const std::string& directory, bool others_may_write, bool top) {
  for (const std::string& name : list_directory(directory)) {
    const std::string path = directory + "/" + name;
    std::error_code gone;
    const fs::file_status status = fs::symlink_status(path, gone);
    REQUIRE(!fs::is_symlink(status), Exit::run_directory, path,
            "this is a symbolic link, and none in a run directory is followed",
            "Put the file or directory itself there. (run.dir itself may be reached by a link.)");
    if (!fs::is_directory(status) || (top && name.starts_with("previous-"))) continue;
    if (!others_may_write) require_closed(path, status);
    look_below(path, others_may_write, false);
  }
}

}  // namespace

void require_trusted(const std::string& directory, bool others_may_write) {
  std::error_code missing;
  const fs::file_status status = fs::status(directory, missing);
  if (!fs::is_directory(status)) return;
  if (!others_may_write) require_closed(directory, status);
  look_below(directory, others_may_write, true);
}

}  // namespace lepton::storage
