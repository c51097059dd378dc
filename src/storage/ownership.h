// SPDX-License-Identifier: Apache-2.0
// Who owns a run directory. A lock (OFD, .lock) keeps a second job out where the file system has locks that
// reach it. Where there are none, or none between hosts, a record does: each start of a run claims the next
// generation by creating .owner-G, which only one can, and beats in it; who finds a record that goes on
// beating is refused, who sees none for `watch_s` of its own time takes over. The generation is a fencing
// token: a job that was stopped, replaced and woken finds a later record and must not write any more.
// Invariant: require_mine() returns only if nobody can have taken over before lease_s after the last beat
// seen; watch_s > lease_s + 2 beat_s. **Rank 0 only.** Called by train.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "storage/file.h"

namespace lepton::storage {

struct OwnershipTimes {
  double beat_s = 1;   ///< between beats
  double watch_s = 6;  ///< without a beat, and a record is that of a dead job
  double lease_s = 3;  ///< so long what was found out holds
};

class Ownership {
 public:
  /// `owner`: this job in words, this_process() and what else helps to find it. Throws Error(run_directory)
  /// naming the job that has the directory.
  Ownership(const std::string& directory, const std::string& owner, const OwnershipTimes& times = {});
  ~Ownership();  ///< says that it gives the directory back, if it is still its own
  Ownership(const Ownership&) = delete;
  Ownership& operator=(const Ownership&) = delete;

  /// Grows with every start that has claimed this directory.
  int64_t generation() const;
  /// The job before did not say that it ended: it died, or is stopped and may wake.
  bool took_over() const;
  /// Before anything is written. Any thread. Throws Error(run_directory) naming who has taken over; looks at
  /// the directory if that was not done for lease_s.
  void require_mine() const;
  /// The same, looking in any case: before a commit.
  void require_mine_now() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Names that belong to the directory, not to the run in it.
bool is_ownership_file(const std::string& name);

/// Gives this file a new inode with the same bytes, so that what a former owner still writes to the old one
/// goes nowhere. Nothing happens where there is no such file.
void take_from_former_owner(const std::string& path);

}  // namespace lepton::storage
