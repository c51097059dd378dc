// SPDX-License-Identifier: Apache-2.0
// What rank 0 does to the checkpoints folder: the commit of a complete step-N.tmp (manifest last, then the
// rename, which is the commit), the removal of old checkpoints, of abandoned ones and of what dead runs left.
// Invariants: a directory step-N is complete or damaged by others, never half written by us; nothing is
// renamed onto or removed that a run could still need. **Rank 0 only**, all of it, from the writer's thread
// or at start.
#pragma once

#include <cstdint>
#include <string>

#include "checkpoint/manifest.h"

namespace lepton::checkpoint {

/// <directory>/step-N.tmp, where a checkpoint is written before it is committed.
std::string unfinished_path(const std::string& directory, int64_t step);

/// Commits the unfinished checkpoint that `manifest` describes. An existing step-N is kept if it is intact
/// and identical, replaced if it is intact but of another state (an evaluation was still due), and moved
/// aside as step-N.damaged-K if it is damaged. Files that other nodes wrote may take `patience_s` to appear
/// here. Throws Error(io).
void commit_checkpoint(const std::string& directory, const Manifest& manifest, double patience_s = 10);

/// Removes checkpoints older than `newest` until `keep` (at least 1) are left, `newest` included. Newer ones
/// are left alone: a run that just wrote `newest` has found them damaged.
void prune_checkpoints(const std::string& directory, int64_t newest, int keep);

void remove_unfinished(const std::string& directory, int64_t step);
/// Removes every step-*.tmp and ends a replacement that was interrupted.
void remove_all_unfinished(const std::string& directory);

}  // namespace lepton::checkpoint
