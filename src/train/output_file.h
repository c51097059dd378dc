// SPDX-License-Identifier: Apache-2.0
// An HDF5 file that a command makes: beside its place, which it takes by one rename when it is whole, and
// only where nothing is lost by that. Called by predict and prepare.
#pragma once

#include <string>

namespace lepton::train {

/// Where `output` is made.
std::string unfinished_name(const std::string& output);

/// **Local.** Refuses an output that would destroy something: the file that is replaced is an earlier output,
/// or at least HDF5 (no model, ledger or deck) and no part of a checkpoint. Error(usage), Error(io).
void require_new_output(const std::string& output);

/// Removes a file that is not finished, however its making ended. "": none.
struct Unfinished {
  std::string path;
  ~Unfinished();
};

}  // namespace lepton::train
