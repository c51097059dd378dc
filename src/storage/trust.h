// SPDX-License-Identifier: Apache-2.0
// Whom a run directory trusts: who can write into it can choose what a run reads and where it writes. So it
// is refused where everybody can, and no symbolic link in it is followed: a link there may lead a job that
// runs as somebody else to any file. Groups may share runs: files are made by the umask. Called by train
// before anything in the directory is read or written.
#pragma once

#include <string>

namespace lepton::storage {

/// Throws Error(run_directory) naming the directory that everybody can write, unless `others_may_write`, or
/// the symbolic link, anywhere below `directory`. (That itself may be reached by a link, and what previous-K/
/// holds is not looked at.) A directory that does not exist yet is fine.
void require_trusted(const std::string& directory, bool others_may_write);

}  // namespace lepton::storage
