// SPDX-License-Identifier: Apache-2.0
// Directories that everybody can write and links at any depth are refused by name; the rest is not.
#include "storage/trust.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "scratch.h"

namespace lepton::storage {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using testing::Scratch;

class Trust : public ::testing::Test {
 protected:
  Trust() { fs::create_directories(step); }
  void expect_refused(const fs::path& named, const char* words, bool others_may_write = false) const {
    expect_error(Exit::run_directory, words, [&] { require_trusted(run, others_may_write); });
    expect_error(Exit::run_directory, named.string(), [&] { require_trusted(run, others_may_write); });
  }

  const Scratch scratch;
  const fs::path run = fs::path(scratch.path()) / "run", step = run / "checkpoints" / "step-00000001";
};

TEST_F(Trust, directories_that_everybody_can_write_are_refused_unless_allowed) {
  require_trusted(run, false);
  require_trusted(run / "not-yet", false);
  for (const fs::path& directory : {run, run / "checkpoints", step}) {
    fs::permissions(directory, fs::perms::others_write, fs::perm_options::add);
    expect_refused(directory, "everybody can write");
    require_trusted(run, true);
    fs::permissions(directory, fs::perms::others_write, fs::perm_options::remove);
  }
  fs::permissions(run, fs::perms::group_write, fs::perm_options::add);
  require_trusted(run, false);
}

TEST_F(Trust, links_are_refused_wherever_they_are) {
  const fs::path target = fs::path(scratch.path()) / "elsewhere";
  fs::create_directories(target);
  for (const fs::path& link :
       {run / "ledger.txt", run / "new", run / "checkpoints" / "step-00000002", step / "state.bin"}) {
    fs::create_directory_symlink(target, link);
    for (const bool allowed : {false, true}) expect_refused(link, "symbolic link", allowed);
    fs::remove(link);
  }
  fs::create_directory_symlink(run, fs::path(scratch.path()) / "by-link");
  require_trusted(scratch.path() + "/by-link", false);
}

TEST_F(Trust, old_runs_aside_are_not_looked_at) {
  fs::create_directories(run / "previous-1");
  fs::create_directory_symlink(run, run / "previous-1" / "link");
  require_trusted(run, false);
}

}  // namespace
}  // namespace lepton::storage
