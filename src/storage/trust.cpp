// SPDX-License-Identifier: Apache-2.0
// One walk over the directory, which never descends by a link.
#include "storage/trust.h"

#include <filesystem>
#include <system_error>

#include "base/error.h"

namespace lepton::storage {

namespace {

namespace fs = std::filesystem;

void require_closed(const fs::path& directory) {
  const bool open = (fs::status(directory).permissions() & fs::perms::others_write) != fs::perms::none;
  REQUIRE(!open, Exit::run_directory, directory.string(),
          "everybody can write into this directory of the run",
          "chmod -R o-w on it, choose another run.dir, or allow it: run.others_may_write = true.");
}

}  // namespace

void require_trusted(const std::string& directory, bool others_may_write) {
  if (!fs::is_directory(directory)) return;
  if (!others_may_write) require_closed(directory);
  for (fs::recursive_directory_iterator entry(directory), end; entry != end; ++entry) {
    REQUIRE(!entry->is_symlink(), Exit::run_directory, entry->path().string(),
            "this is a symbolic link, and none in a run directory is followed",
            "Put the file or directory itself there. (run.dir itself may be reached by a link.)");
    if (!entry->is_directory()) continue;
    if (entry.depth() == 0 && entry->path().filename().string().starts_with("previous-"))
      entry.disable_recursion_pending();
    else if (!others_may_write)
      require_closed(entry->path());
  }
}

}  // namespace lepton::storage
