// SPDX-License-Identifier: Apache-2.0
// What rank 0 does to the checkpoints folder: the commit of a complete step-N.tmp-G (manifest last, then the
// rename, which is the commit), the removal of old checkpoints, of abandoned ones and of what dead runs left.
// Invariants: a directory step-N is complete or damaged by others, never half written by us; nothing is
// renamed onto or removed that a run could still need. **Rank 0 only**, all of it, from the writer's thread
// or at start.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "checkpoint/manifest.h"

namespace lepton::checkpoint {

/// Where a job writes checkpoints, and as which owner of the run.
struct Place {
  std::string directory = {};  ///< <run>/checkpoints
  int64_t generation = 0;      ///< of the owner (storage/ownership.h): a replaced job has a lower one
  std::function<void()> still_owned = {};  ///< throws once the run belongs to another job; may be empty
};

/// <directory>/step-N.tmp-G, where generation G writes a checkpoint before it is committed: a job that was
/// replaced and wakes in the middle of its writing touches nothing of the job that replaced it.
std::string unfinished_path(const Place& place, int64_t step);

/// Commits the unfinished checkpoint that `manifest` describes. An existing step-N is kept if it is intact
/// and identical, replaced if it is intact but of another state (an evaluation was still due), and moved
/// aside as step-N.damaged-K if it is damaged. Files that other nodes wrote may take `patience_s` to appear
/// here. Asks `still_owned` before the manifest and before the rename. Throws Error(io).
void commit_checkpoint(const Place& place, const Manifest& manifest, double patience_s = 10);

/// Removes checkpoints older than `newest` until `keep` (at least 1) are left, `newest` included. Newer ones
/// are left alone: a run that just wrote `newest` has found them damaged.
void prune_checkpoints(const Place& place, int64_t newest, int keep);

/// This generation's.
void remove_unfinished(const Place& place, int64_t step);
/// Removes every step-*.tmp-* and ends a replacement that was interrupted.
void remove_all_unfinished(const std::string& directory);

}  // namespace lepton::checkpoint
